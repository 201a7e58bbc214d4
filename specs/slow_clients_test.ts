// The API and whoever is connected to it: clients that do nothing, and more of them than files may be open.

import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { eventually } from "./support/eventually.ts";
import { signalChild } from "../shared/process/stop.ts";
import { connectRaw } from "./support/http.ts";
import { readOutput } from "./support/run_task.ts";
import { shareTestSchema, testSchema } from "./support/test_schema.ts";
import { startStack } from "./support/test_stack.ts";
import { API } from "../workers/dev/processes.ts";

shareTestSchema();

const root = fileURLToPath(new URL("..", import.meta.url));

Deno.test("an API that stops ends its streams, and clients that neither send nor read hold it up for nothing", async () => {
  await using stack = await startStack({}, { processes: [API.name] });
  const { body } = await fetch(`${stack.url}/ops/live`);
  const reader = body?.getReader();
  await using slow = new AsyncDisposableStack();
  const starts = [
    "",
    "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ",
    "POST /orders HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    "GET /ops/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
  ];
  for (const start of starts) {
    const connection = slow.use(await connectRaw(stack.url));
    await connection.send(start);
  }
  await fetch(`${stack.url}/healthz`).then((response) => response.body?.cancel()); // those before have been seen
  assertEquals(await stack.stop(API.name), 0, "it was killed");
  await eventually("the stream to end", async () => (await reader?.read())?.done);
});

Deno.test("when there are more connections than files may be open, the API closes idle ones, and serves the others and new ones", async () => {
  await using db = await testSchema();
  const run = `ulimit -n 120; exec "$0" run -q --no-prompt -P=api api/main.ts`;
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", run, Deno.execPath()],
    cwd: root,
    env: { DATABASE_URL: db.url, AMQP_URL: "amqp://127.0.0.1:1", PORT: "0", LOG_FORMAT: "json" },
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const output = readOutput(child.stdout);
  await using connections = new AsyncDisposableStack();
  connections.defer(() => signalChild(child, "SIGKILL"));
  const url = await eventually(
    "the API to listen",
    () => /http:\/\/127\.0\.0\.1:\d+/.exec(output.text())?.[0],
  );
  const pulses = (text: string) => text.split("\ndata: ").length - 1;
  const page = connections.use(await connectRaw(url));
  await page.send("GET /ops/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
  assert(pulses(await page.until((text) => pulses(text) > 0)) > 0);

  for (let i = 0; i < 200; i++) {
    const connection = await connectRaw(url).catch(() => null); // refused, while no server listens
    if (connection) connections.use(connection);
  }
  const told = /Cannot take another connection.*Too many open files/;
  await eventually("the API to say so", () => told.test(output.text()));
  await eventually("a new connection is served", () => {
    return fetch(`${url}/healthz`).then(
      async (response) => (await response.body?.cancel(), response.ok),
      () => false,
    );
  });
  const before = pulses(await page.until(() => true));
  assert(pulses(await page.until((text) => pulses(text) > before)) > before, "the page was cut off");
  child.kill("SIGTERM");
  assertEquals((await child.status).code, 0, output.text());
  await output.ended;
});
