import { assert, assertEquals } from "@std/assert";
import { type LivePulse, livePulseSchema } from "../shared/ops/live.ts";
import { eventually } from "./support/eventually.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";
import { shareTestSchema } from "./support/test_schema.ts";

shareTestSchema();

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

async function watch({ url }: TestStack): Promise<ReadableStreamDefaultReader<string>> {
  const { body } = await fetch(`${url}/ops/live`);
  assert(body);
  return body.pipeThrough(new TextDecoderStream()).getReader();
}

Deno.test("the live feed follows the processes: what they count, and who stops; the API ends it", async () => {
  await using stack = await startStack({}, { apart: [] });
  const reader = await watch(stack);
  const names = stack.processes.toSorted();
  const namesOf = ({ processes }: LivePulse) => processes.map(({ name }) => name).toSorted();
  const isWhole = (pulse: LivePulse) => namesOf(pulse).join() === names.join();
  await pulseWhere(
    reader,
    (pulse) => isWhole(pulse) && (pulse.queues?.every((q) => q.consumers === 1) ?? false),
  );

  const played = await fetch(`${stack.url}/ops/scenarios/order-success`, { method: "POST" });
  const { id } = await played.json();
  const countOf = ({ processes }: LivePulse, process: string, count: string) =>
    processes.find(({ name }) => name === process)?.counts[count];
  const done = await pulseWhere(
    reader,
    (pulse) =>
      pulse.orders[0]?.status === "COMPLETED" && countOf(pulse, "api", "orders") === 1 &&
      (countOf(pulse, "outbox-relay", "published") ?? 0) >= 4 && pulse.outbox.pending === 0 &&
      countOf(pulse, "notifications-final-events", "processed") === 1,
  );
  assertEquals([done.orders[0]?.id, done.outbox.pending], [id, 0]);
  assert(done.latency.p50 !== null && done.latency.p50 > 0);

  assertEquals(await stack.stop("payments-refund-requested"), 0);
  await pulseWhere(reader, (pulse) => !namesOf(pulse).includes("payments-refund-requested"));

  assertEquals(await stack.stop("api"), 0);
  await eventually("the stream to end", async () => (await reader.read()).done);
});
