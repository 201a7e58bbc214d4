import { assertEquals } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "amqplib";
import { readQueueDepths } from "../shared/broker/connection.ts";
import { tickRelay } from "../shared/sql/outbox.ts";
import { CONSUMERS } from "../workers/dev/processes.ts";
import { eventually } from "./support/eventually.ts";
import {
  balance,
  countUnpublished,
  fingerprint,
  ledgerOf,
  readBooks,
  readLedger,
  settled,
  violations,
} from "./support/ledger.ts";
import { keepOrdering, mixedCourse, placeOrders } from "./support/place_orders.ts";
import { wipeBroker } from "./support/test_broker.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

const ORDERS = 1000;
/** So many orders lie between two restarts, and between two kills. */
const EVERY = 100;
const EXPECTED = ledgerOf({ success: 800, paymentFailure: 100, enrollmentFailure: 100 });

Deno.test("1,000 orders end with one charge, one seat and one notification each although every process is restarted, and a repeat of every event changes nothing", async () => {
  await using stack = await startStack({}, { apart: [] });
  const { sql } = stack.db;
  await orderWhileAllRestart(stack);
  await settled(stack);
  assertEquals(await readLedger(sql), EXPECTED);
  // Who is asked to stop finishes and acks what it has in hand: nobody gets it a second time.
  const [inbox] = await sql`select sum(duplicates)::int as repeats from processed_events`;
  assertEquals(inbox?.repeats, 0, "events that were processed and came again");

  const before = await fingerprint(sql);
  await sql`update outbox_events set published_at = null`;
  await tickRelay(sql);
  const allPublished = async () => await countUnpublished(sql) === 0;
  await eventually("every event to be published again", allPublished, 60_000);
  await eventually("every repeat to leave its trace in the inbox", async () => {
    const [row] = await sql`select count(*)::int as rows, min(duplicates) as least from processed_events`;
    return row?.rows > 0 && row?.least >= 1;
  }, 60_000);
  await nothingLeft(stack);
  assertEquals(await fingerprint(sql), before);
  assertEquals(await readLedger(sql), EXPECTED);
  assertEquals(await violations(stack), []);
});

/** Stops and starts every process under load, one after the other: no order may be lost, nor one be made twice. */
async function orderWhileAllRestart(stack: TestStack): Promise<void> {
  const codes: string[] = [];
  let ordered = 0;
  const load = keepOrdering(stack.url, {
    orders: ORDERS,
    connections: 16,
    // Ahead of the restarts, but not by so much that there would be no load beneath the last of them.
    async gate() {
      while (codes.length < stack.processes.length && ordered >= (codes.length + 2) * EVERY) await delay(5);
    },
    stop: AbortSignal.timeout(120_000),
    onAccepted: (count) => ordered = count,
  });
  for (const name of stack.processes) {
    await eventually(`load for ${name}`, () => ordered >= (codes.length + 1) * EVERY, 60_000);
    codes.push(`${name} ${await stack.stop(name)}`);
    stack.start(name);
  }
  const { accepted, answeredTwice, unanswered } = await load;
  await settled(stack);
  assertEquals(codes, stack.processes.map((name) => `${name} 0`), "processes that did not stop cleanly");
  assertEquals([accepted.size, unanswered], [ORDERS, 0]);
  const books = await readBooks(stack.db.sql);
  assertEquals(balance({ accepted, answeredTwice }, books), { lost: 0, duplicated: 0, stuck: 0, wrong: 0 });
}

Deno.test("orders all end right although every worker is killed in the middle of them, and the broker loses all that it has", async () => {
  const reconcileSoon = { OUTBOX_RECONCILE_INTERVAL_MS: "100", OUTBOX_RECONCILE_AFTER_MS: "2000" };
  await using stack = await startStack(reconcileSoon);
  const { db: { sql }, broker } = stack;
  const load = placeOrders(stack.url, { orders: ORDERS, connections: 16, courseOf: mixedCourse });
  const workers = stack.processes.filter((name) => name !== "api");
  for (const [i, name] of workers.entries()) {
    // Each at a time of its own, while there is work for it.
    await eventually(`order ${(i + 1) * EVERY}`, async () => {
      const [row] = await sql`select count(*)::int as count from orders`;
      return row?.count >= (i + 1) * EVERY;
    }, 60_000);
    await stack.kill(name);
    stack.start(name);
    if (i % 3 === 2) await wipeBroker(broker.url, broker.topology);
  }
  await load;
  await settled(stack);
  assertEquals(await readLedger(sql), EXPECTED);
  assertEquals(await violations(stack), []);
});

/** Stops the consumers, each of which finishes what it has in hand and gives back the rest; then nothing may be left. */
async function nothingLeft(stack: TestStack): Promise<void> {
  const { broker: { url, topology } } = stack;
  const connection = await connect(url);
  const channel = await connection.createChannel();
  const codes = await Promise.all(CONSUMERS.map(async ({ name }) => `${name} ${await stack.stop(name)}`));
  assertEquals(codes.filter((code) => !code.endsWith(" 0")), [], "processes that did not stop cleanly");
  // The broker may count a consumer for a moment longer, and its messages come back only then.
  await eventually("nobody to be subscribed", async () => {
    return (await readQueueDepths(channel, topology)).every(({ consumers }) => consumers === 0);
  });
  const left = (await readQueueDepths(channel, topology)).filter(({ messages }) => messages > 0);
  assertEquals(left, [], "messages that nobody consumes");
  await connection.close();
}
