import { assertEquals } from "@std/assert";
import { connect } from "amqplib";
import { runAudit } from "../shared/ops/audit.ts";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { tickRelay } from "../shared/sql/outbox.ts";
import { CONSUMERS } from "../workers/dev/processes.ts";
import { eventually } from "./support/eventually.ts";
import { countUnpublished, fingerprint, readLedger, settled } from "./support/ledger.ts";
import { placeOrders } from "./support/place_orders.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

const ORDERS = 1000;
/** Of ten orders, eight succeed, one is declined and one finds no seat. */
const courseOf = (n: number) =>
  n % 10 === 8
    ? RESERVED_COURSES.paymentFailure
    : n % 10 === 9
    ? RESERVED_COURSES.enrollmentFailure
    : RESERVED_COURSES.success;

const EXPECTED = {
  orders: { COMPLETED: 800, PAYMENT_FAILED: 100, REFUNDED: 100 },
  payments: { FAILED: 100, REFUND_SUCCEEDED: 100, SUCCEEDED: 800 },
  enrollments: { FAILED: 100, GRANTED: 800 },
  notifications: { ORDER_COMPLETED: 800, ORDER_REFUNDED: 100, PAYMENT_FAILED: 100 },
  events: {
    "enrollment.failed": 100,
    "enrollment.granted": 800,
    "notification.sent": 1000,
    "order.created": 1000,
    "payment.failed": 100,
    "payment.succeeded": 900,
    "refund.requested": 100,
    "refund.succeeded": 100,
  },
  deadLetters: 0,
};

Deno.test("1,000 orders end with one charge, one seat and one notification each, and a repeat of every event changes nothing", async () => {
  await using stack = await startStack({}, { apart: [] });
  const { sql } = stack.db;
  await placeOrders(stack.url, { orders: ORDERS, connections: 16, courseOf });
  await settled(stack);
  assertEquals(await readLedger(sql), EXPECTED);

  const before = await fingerprint(sql);
  await sql`update outbox_events set published_at = null`;
  await tickRelay(sql);
  await eventually(
    "every event to be published again",
    async () => await countUnpublished(sql) === 0,
    60_000,
  );
  await eventually("every repeat to leave its trace in the inbox", async () => {
    const [row] = await sql`select count(*)::int as rows, min(duplicates) as least from processed_events`;
    return row?.rows > 0 && row?.least >= 1;
  }, 60_000);
  await nothingLeft(stack);
  assertEquals(await fingerprint(sql), before);
  assertEquals(await readLedger(sql), EXPECTED);
  assertEquals(await violations(stack), []);
});

Deno.test("orders all end right although every worker is killed in the middle of them", async () => {
  await using stack = await startStack();
  const workers = stack.processes.filter((name) => name !== "api");
  const load = placeOrders(stack.url, { orders: ORDERS, connections: 16, courseOf });
  for (const [i, name] of workers.entries()) {
    // Each at a time of its own, while there is work for it.
    await eventually(`order ${(i + 1) * 100}`, async () => {
      const [row] = await stack.db.sql`select count(*)::int as count from orders`;
      return row?.count >= (i + 1) * 100;
    }, 60_000);
    await stack.kill(name);
    stack.start(name);
  }
  await load;
  await settled(stack);
  assertEquals(await readLedger(stack.db.sql), EXPECTED);
  assertEquals(await violations(stack), []);
});

/** What the audit of a system at rest finds. */
async function violations({ db, broker }: TestStack) {
  const { checks } = await runAudit(db.as("orderflow_ops"), broker.topology, { graceSeconds: 0 });
  return checks.filter(({ count }) => count > 0);
}

/** Stops the consumers, each of which finishes what it has in hand and gives back the rest; then nothing may be left. */
async function nothingLeft(stack: TestStack): Promise<void> {
  const connection = await connect(stack.broker.url);
  const channel = await connection.createChannel();
  const queues = async () => {
    const { topology } = stack.broker;
    return await Promise.all(Object.values(topology.queues).map(({ name }) => channel.checkQueue(name)));
  };
  const codes = await Promise.all(CONSUMERS.map(async ({ name }) => `${name} ${await stack.stop(name)}`));
  assertEquals(codes.filter((code) => !code.endsWith(" 0")), [], "processes that did not stop cleanly");
  // The broker may count a consumer for a moment longer, and its messages come back only then.
  await eventually(
    "nobody to be subscribed",
    async () => (await queues()).every((q) => q.consumerCount === 0),
  );
  const left = (await queues()).filter(({ messageCount }) => messageCount > 0);
  assertEquals(left, [], "messages that nobody consumes");
  await connection.close();
}
