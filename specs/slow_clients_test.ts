/**
 * The API's process, and clients that keep their connections without doing anything.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { eventually } from "./support/eventually.ts";
import { connectRaw } from "./support/raw_http.ts";
import { shareTestSchema, testSchema } from "./support/test_schema.ts";
import { startStack } from "./support/test_stack.ts";
import { readOutput } from "./support/read_output.ts";

shareTestSchema();

const root = fileURLToPath(new URL("..", import.meta.url));

Deno.test("a stop is not held up by clients that neither send nor read", async () => {
  await using stack = await startStack({}, { processes: ["api"] });
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
  assertEquals(await stack.stop("api"), 0, "it was killed");
});

Deno.test("when there are more connections than files may be open, the API says so and ends, to be started again", async () => {
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
  const url = await eventually(
    "the API to listen",
    () => /http:\/\/127\.0\.0\.1:\d+/.exec(output.text())?.[0],
  );
  for (let i = 0; i < 200; i++) {
    const connection = await connectRaw(url).catch(() => null); // refused, once it has ended
    if (connection) connections.use(connection);
  }
  assertEquals((await child.status).code, 1);
  await output.ended;
  assert(/Cannot go on.*Too many open files/s.test(output.text()), output.text());
});
