/**
 * The processes and whoever is connected to the API: pages that follow them, and clients that do nothing.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { type LivePulse, livePulseSchema } from "../shared/ops/live.ts";
import { eventually } from "./support/eventually.ts";
import { signalChild } from "../shared/process/stop.ts";
import { connectRaw } from "./support/http.ts";
import { readOutput } from "./support/read_output.ts";
import { shareTestSchema, testSchema } from "./support/test_schema.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

const root = fileURLToPath(new URL("..", import.meta.url));

Deno.test("the live feed follows the processes: what they count, and who stops; a stop ends it, and clients that neither send nor read hold up none", async () => {
  await using stack = await startStack({}, { apart: ["api"] });
  const reader = await watch(stack);
  const namesOf = ({ processes }: LivePulse) => processes.map(({ name }) => name).toSorted().join();
  const everybody = stack.processes.toSorted().join();
  await pulseWhere(reader, (pulse) => {
    return namesOf(pulse) === everybody && (pulse.queues?.every(({ consumers }) => consumers === 1) ?? false);
  });

  const played = await fetch(`${stack.url}/ops/scenarios/order-success`, { method: "POST" });
  const { id } = await played.json();
  const countOf = ({ processes }: LivePulse, process: string, count: string) =>
    processes.find(({ name }) => name === process)?.counts[count] ?? 0;
  const done = await pulseWhere(
    reader,
    (pulse) =>
      pulse.orders[0]?.status === "COMPLETED" && countOf(pulse, "api", "orders") === 1 &&
      countOf(pulse, "outbox-relay", "published") >= 4 && pulse.outbox.pending === 0 &&
      countOf(pulse, "notifications-final-events", "processed") === 1,
  );
  assertEquals([done.orders[0]?.id, done.outbox.pending], [id, 0]);
  assert(done.latency.p50 !== null && done.latency.p50 > 0);

  assertEquals(await stack.stop("payments-refund-requested"), 0);
  await pulseWhere(reader, (pulse) => !namesOf(pulse).includes("payments-refund-requested"));

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
  await eventually("the stream to end", async () => (await reader.read()).done);
});

async function watch({ url }: TestStack): Promise<ReadableStreamDefaultReader<string>> {
  const { body } = await fetch(`${url}/ops/live`);
  assert(body);
  return body.pipeThrough(new TextDecoderStream()).getReader();
}

/** Reads the stream until a pulse answers `wanted`. */
async function pulseWhere(
  reader: ReadableStreamDefaultReader<string>,
  wanted: (pulse: LivePulse) => boolean,
): Promise<LivePulse> {
  for (let text = "";;) {
    const { value, done } = await reader.read();
    assert(!done, "the stream has ended");
    text += value;
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const data = /^data: (.*)$/m.exec(event)?.[1];
      const pulse = data ? livePulseSchema.parse(JSON.parse(data)) : null;
      if (pulse && wanted(pulse)) return pulse;
    }
  }
}

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
