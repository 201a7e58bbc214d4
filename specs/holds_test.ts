/**
 * Holds through the real stack: what is held takes nothing, a step lets one event through, and nothing is lost or doubled.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { heldSchema } from "../shared/ops/answers.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { eventually } from "./support/eventually.ts";
import { ledgerOf, readLedger, settled, violations } from "./support/ledger.ts";
import { placeOrders } from "./support/place_orders.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

const ENROLLMENTS = "enrollments-payment-succeeded";
const FAULTS = { FAULTS_ENABLED: "true" };

async function ask(stack: TestStack, method: string, path: string, body?: object): Promise<string[]> {
  const response = await fetch(`${stack.url}/ops/holds/${path}`, {
    method,
    ...(body ? { headers: { "content-type": "application/json" }, body: JSON.stringify(body) } : {}),
  });
  const text = await response.text();
  assertEquals(response.status, 200, text);
  return heldSchema.parse(JSON.parse(text)).holds.map(({ part }) => part);
}

const hold = (stack: TestStack, part: string, body?: object) => ask(stack, "PUT", part, body);
const step = (stack: TestStack, part: string) => ask(stack, "POST", `${part}/step`);
const resume = (stack: TestStack, part: string) => ask(stack, "DELETE", part);
const order = (stack: TestStack, orders: number) => placeOrders(stack.url, { orders, connections: 1 });

async function count(sql: Sql, what: "seats" | "charged" | "paid" | "told" | "published"): Promise<number> {
  const from = {
    seats: sql`enrollments`,
    charged: sql`payments`,
    paid: sql`orders where status <> 'PENDING'`,
    told: sql`notifications`,
    published: sql`outbox_events where published_at is not null`,
  };
  const [row] = await sql<{ count: number }[]>`select count(*)::int as count from ${from[what]}`;
  return row?.count ?? 0;
}

/** Waits until so many orders are paid (by the orders' consumer, which hears of it as the held one does) and told of. */
async function reach(stack: TestStack, paid: number, told: number): Promise<void> {
  await eventually(`${paid} paid, ${told} told`, async () => {
    return await count(stack.db.sql, "paid") === paid && await count(stack.db.sql, "told") === told;
  });
}

Deno.test("a held consumer takes nothing, in no copy and after no restart; each step lets one event through", async () => {
  await using stack = await startStack({}, { apart: [] });
  const { sql } = stack.db;
  const part = stack.broker.topology.queues.enrollmentsPaymentSucceeded.name;
  assertEquals(await hold(stack, part), [part]);
  await order(stack, 3);
  await reach(stack, 3, 0);
  assertEquals(await count(sql, "seats"), 0);
  await step(stack, part);
  await reach(stack, 3, 1); // two hops further: time enough to take another
  assertEquals(await count(sql, "seats"), 1);

  const copy = stack.startCopy(ENROLLMENTS);
  await eventually("two copies", async () => (await beats(sql, ENROLLMENTS)) === 2);
  await order(stack, 4);
  await reach(stack, 7, 1);
  await step(stack, part);
  await reach(stack, 7, 2);
  assertEquals(await count(sql, "seats"), 2);

  assertEquals(await stack.stop(ENROLLMENTS), 0);
  stack.start(ENROLLMENTS);
  await eventually("its next life", async () => (await beats(sql, ENROLLMENTS)) === 2);
  await order(stack, 1);
  await reach(stack, 8, 2);
  assertEquals(await count(sql, "seats"), 2);

  assertEquals(await resume(stack, part), []);
  await settled(stack);
  assertEquals(await readLedger(sql), ledgerOf({ success: 8 }));
  await copy.end("SIGTERM");

  await hold(stack, part, { forSeconds: 1 });
  await order(stack, 1);
  await settled(stack); // without anybody's doing
  const [row] = await sql`select max(created_at) >= (select until from holds) as late from enrollments`;
  assertEquals([row?.late, await readLedger(sql)], [true, ledgerOf({ success: 9 })]);
});

/** How many copies of a process say that they live. */
async function beats(sql: Sql, process: string): Promise<number> {
  const [row] = await sql<
    { count: number }[]
  >`select count(*)::int as count from heartbeats where process = ${process}`;
  return row?.count ?? 0;
}

Deno.test("a held relay claims nothing, whoever ticks it, in no copy and after no restart; each step lets one event through", async () => {
  await using stack = await startStack({}, { apart: [] });
  const { sql } = stack.db;
  assertEquals(await hold(stack, "relay"), ["relay"]);
  await order(stack, 3);
  await (await fetch(`${stack.url}/ops/outbox/tick`, { method: "POST" })).body?.cancel();
  await step(stack, "relay");
  await eventually("the first to be charged", async () => await count(sql, "charged") === 1);
  await eventually("it alone to be marked", async () => await count(sql, "published") === 1); // the charge has woken the relay

  assertEquals(await stack.stop("outbox-relay"), 0);
  stack.start("outbox-relay");
  const copy = stack.startCopy("outbox-relay");
  await eventually("two relays", async () => (await beats(sql, "outbox-relay")) === 2);
  await step(stack, "relay");
  await eventually("the second to be charged", async () => await count(sql, "charged") === 2);
  await eventually("both to be marked", async () => await count(sql, "published") === 2); // behind the broker's confirm

  assertEquals(await resume(stack, "relay"), []);
  await settled(stack);
  assertEquals(await readLedger(sql), ledgerOf({ success: 3 }));
  await copy.end("SIGTERM");

  await hold(stack, "relay", { forSeconds: 1 });
  await order(stack, 1);
  await settled(stack); // without anybody's doing
  const [row] = await sql`
    select min(published_at) >= (select until from holds) as late from outbox_events
    where type = 'order.created' and id = (select max(id::text)::uuid from outbox_events where type = 'order.created')`;
  assertEquals([row?.late, await readLedger(sql)], [true, ledgerOf({ success: 4 })]);
});

Deno.test("a consumer that is killed where it was held before its commit leaves nothing, and does all of it once", async () => {
  const name = "payments-order-created";
  await using stack = await startStack(FAULTS, { apart: [name] });
  const { sql } = stack.db;
  const queue = stack.broker.topology.queues.paymentsOrderCreated.name;
  const part = `${queue}.before-commit`;
  /** Whether a transaction of the consumer is open, and waits for whoever has begun it. */
  const isStopped = async () =>
    (await sql`
      select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'
        and application_name = ${`orderflow ${queue}`}`).count === 1;
  await hold(stack, part);
  await order(stack, 1);
  await eventually("it to stop", isStopped);
  assertEquals(await count(sql, "charged"), 0);
  await stack.kill(name);
  await eventually("its transaction to be gone", async () => !await isStopped());
  stack.start(name);
  await eventually("it to stop again", isStopped);
  assertEquals(await count(sql, "charged"), 0);
  await step(stack, part);
  await settled(stack);
  await order(stack, 1);
  await eventually("the next one to stop", isStopped);
  assertEquals(await count(sql, "charged"), 1);
  await resume(stack, part);
  await settled(stack);
  assertEquals([await readLedger(sql), await violations(stack)], [ledgerOf({ success: 2 }), []]);
});

Deno.test("a relay that is killed where it was held before its mark publishes once more, and that is absorbed", async () => {
  await using stack = await startStack(FAULTS, { apart: ["outbox-relay"] });
  const { sql } = stack.db;
  const part = "relay.before-mark";
  await hold(stack, part);
  await order(stack, 1);
  await eventually("what is not marked to be charged", async () => await count(sql, "charged") === 1);
  assertEquals(await count(sql, "published"), 0);
  await stack.kill("outbox-relay");
  stack.start("outbox-relay");
  await eventually("the repeat to be absorbed", async () => {
    return (await sql`select from processed_events where duplicates > 0`).count === 1;
  });
  assertEquals(await count(sql, "published"), 0);
  await resume(stack, part);
  await settled(stack);
  assertEquals([await readLedger(sql), await violations(stack)], [ledgerOf({ success: 1 }), []]);
});
