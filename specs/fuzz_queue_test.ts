import fc from "fast-check";
import { Buffer } from "node:buffer";
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { badBody, FUZZ_RUNS, strangersEvent, withFuzzSeed } from "./support/bad_messages.ts";
import { eventually } from "./support/eventually.ts";
import { ledgerOf, readLedger, settled, violations } from "./support/ledger.ts";
import { mixedCourse, placeOrders } from "./support/place_orders.ts";
import { openWire } from "./support/test_broker.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

const ORDERS = 300;
const EXPECTED = ledgerOf({ success: 240, paymentFailure: 30, enrollmentFailure: 30 });

interface BadMessage {
  readonly queue: string;
  readonly body: Uint8Array;
  readonly headers: Record<string, unknown>;
}

Deno.test("fuzzed messages become dead letters, each of them, and neither a process nor an order beside them suffers", async () => {
  await withFuzzSeed(async (seed) => {
    await using stack = await startStack({}, { apart: [] });
    const messages = badMessages(stack, seed);
    await Promise.all([
      placeOrders(stack.url, { orders: ORDERS, connections: 4, courseOf: mixedCourse }),
      publish(stack, messages),
    ]);
    const sent = new Map(messages.map((message) => [keyOf(message), message]));
    await eventually("every message to be a dead letter", async () => {
      const [row] = await stack.db.sql`select count(*)::int as count from dead_letters`;
      return row?.count >= sent.size;
    }, 30_000).catch(() => {}); // which are missing says more
    const kept = await keptLetters(stack);
    const missing = [...sent].filter(([key]) => !kept.has(key)).map(([, message]) => shown(message));
    assertEquals(missing.slice(0, 10), [], `${missing.length} of ${sent.size} messages are no dead letter`);
    await settled(stack);
    assertEquals(await readLedger(stack.db.sql), { ...EXPECTED, deadLetters: sent.size });
    assertEquals(await violations(stack), []);
    // Nobody starts a process again here: one that gave up would answer with another code than that of a clean stop.
    const codes = await Promise.all(stack.processes.map(async (name) => `${name} ${await stack.stop(name)}`));
    assertEquals(codes, stack.processes.map((name) => `${name} 0`), "processes that died");
  });
});

function badMessages({ broker: { topology } }: TestStack, seed: number): BadMessage[] {
  // These refuse an event about an order that nobody knows; the others take it as it comes.
  const refuseStrangers = ["ordersLifecycleEvents", "ordersPaymentEvents", "paymentsRefundRequested"];
  const ofQueue = Object.entries(topology.queues).map(([key, { name, bindings }]) => {
    const bad = badBody(bindings);
    const strangers = strangersEvent(bindings).map((event) =>
      new TextEncoder().encode(JSON.stringify(event))
    );
    const some = { weight: refuseStrangers.includes(key) ? 1 : 0, arbitrary: strangers };
    return { name, bodies: fc.oneof({ weight: 9, arbitrary: bad }, some) };
  });
  // Consumers read these; anybody can write them.
  const small = fc.constantFrom<unknown>(-1, 0, 2, 3, 99, 1.5, true, "many");
  const counts = fc.oneof(small, fc.constantFrom(2 ** 31, 2 ** 52));
  const read = fc.record({ "x-delivery-count": counts, "x-retries": counts, "x-age-ms": counts }, {
    requiredKeys: [],
  });
  const headers = fc.oneof(
    { weight: 30, arbitrary: fc.constant({}) },
    fc.record({ traceparent: fc.oneof(fc.string(), fc.integer(), fc.boolean()) }),
    read,
  );
  const message = fc.constantFrom(...ofQueue).chain(({ name, bodies }) =>
    fc.record({ queue: fc.constant(name), body: bodies, headers })
  );
  return fc.sample(message, { seed, numRuns: FUZZ_RUNS });
}

async function publish({ broker }: TestStack, messages: readonly BadMessage[]): Promise<void> {
  await using wire = await openWire(broker);
  for (let at = 0; at < messages.length; at += 500) {
    for (const { queue, body, headers } of messages.slice(at, at + 500)) {
      wire.channel.sendToQueue(queue, Buffer.from(body), { persistent: true, headers });
    }
    await wire.channel.waitForConfirms();
  }
}

/** A repeat of an open letter is counted on it, so a body makes one letter for each consumer. */
function keyOf({ queue, body }: BadMessage): string {
  return `${queue} ${createHash("sha256").update(body).digest("hex")}`;
}

async function keptLetters({ db }: TestStack): Promise<Set<string>> {
  const rows = await db.sql<{ key: string }[]>`
    select consumer || ' ' || encode(fingerprint, 'hex') as key from dead_letters where state = 'OPEN'`;
  return new Set(rows.map(({ key }) => key));
}

function shown({ queue, body }: BadMessage): string {
  return `${queue}: ${new TextDecoder().decode(body.slice(0, 500))}`;
}
