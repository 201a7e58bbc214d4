import { assertEquals } from "@std/assert";
import { SCENARIOS } from "../api/ops/scenario_list.ts";
import { runAudit } from "../shared/ops/audit.ts";
import { armFaults } from "../shared/ops/faults.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { eventually } from "./support/eventually.ts";
import {
  COMPLETED,
  countHearings,
  countUnfinished,
  countUnpublished,
  DECLINED,
  type OrderEnd,
  PENDING,
  readOrderEnd,
  REFUNDED,
} from "./support/ledger.ts";
import { placeOrders } from "./support/place_orders.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

/** The scenarios that end no process and take no connection away. */
const GENTLE: Readonly<Record<string, OrderEnd>> = {
  "order-success": COMPLETED,
  "payment-failure": DECLINED,
  "enrollment-failure": REFUNDED,
  "provider-slow": COMPLETED,
  "provider-timeout": { ...COMPLETED, payments: ["SUCCEEDED after 3"] },
  "provider-down": { ...PENDING, letters: ["retries exhausted after 4"] },
  "refund-failing": REFUNDED,
  "database-timeout": COMPLETED,
  "duplicate-delivery": COMPLETED,
  "delayed-delivery": COMPLETED,
  "event-too-early": COMPLETED,
  "malformed-message": { ...COMPLETED, letters: ["not JSON after 1"] },
  "invalid-payload": { ...COMPLETED, letters: ["invalid payload after 1"] },
  "unknown-version": { ...COMPLETED, letters: ["unknown version after 1"] },
  "illegal-transition": { ...COMPLETED, letters: ["illegal transition after 1"] },
};

const poisoned = ["kills its worker after 1"];

/** The one that takes reconciliation to end: `failure_matrix_test.ts` plays it. */
const LOST = "lost-message";

/** Those that do, with whom they end. */
const ROUGH: Readonly<Record<string, readonly string[]>> = {
  "broker-connection-lost": [],
  "crash-before-publish": ["outbox-relay"],
  "crash-after-confirm": ["outbox-relay"],
  "crash-before-commit": ["payments-order-created"],
  "crash-after-commit": ["payments-order-created"],
  "poison-message": Array.from({ length: 6 }, () => "payments-order-created"),
};

Deno.test("every scenario has its end in a test", () => {
  const tested = [...Object.keys(GENTLE), LOST, ...Object.keys(ROUGH)];
  assertEquals(tested.toSorted(), SCENARIOS.map(({ name }) => name).toSorted());
});

Deno.test("the scenarios end as their sentences say, all at once, and harm nobody beside them", async () => {
  await using stack = await startStack(
    { FAULTS_ENABLED: "true", PAYMENT_PROVIDER_TIMEOUT_MS: "3000" },
    { apart: [] },
  );
  const { sql } = stack.db;
  const beside = placeOrders(stack.url, { orders: 50, connections: 4 });
  const ids = new Map(
    await Promise.all(
      Object.keys(GENTLE).map(async (name) => [name, await play(stack, name)] as const),
    ),
  );
  await beside;
  for (const [name, end] of Object.entries(GENTLE)) await endsAs(sql, name, ids.get(name) ?? "", end);
  await eventually("the others", async () => await countUnfinished(sql) === 1); // provider-down waits for an operator
  await eventually("all to be published", async () => await countUnpublished(sql) === 0);
  assertEquals(await left(sql), 0, "each fault has struck as often as it was armed");
  assertEquals(stack.crashes, []);

  // The marks that the scenarios leave, and nobody else bears.
  const repeated = ids.get("duplicate-delivery") ?? "";
  const hearings = countHearings("order.created", "payment.succeeded", "enrollment.granted");
  await eventually("the repeats to be absorbed", async () => await repeats(sql, repeated) === hearings);
  const marked = await sql<{ correlation: string; duplicates: number }[]>`
    select correlation_id as correlation, sum(p.duplicates)::int as duplicates
    from processed_events p join outbox_events e on e.id = p.event_id
    where p.duplicates > 0 group by 1`;
  assertEquals(marked.map((row) => ({ ...row })), [{
    correlation: "scenario-duplicate-delivery",
    duplicates: hearings,
  }]);
  const lettered = await sql`
    select count(*)::int as count from dead_letters where correlation_id not like 'scenario-%'`;
  assertEquals(lettered[0]?.count, 0);
  assertEquals(await paidAfterMs(sql, ids.get("provider-slow")) >= 1900, true);
  assertEquals(await paidAfterMs(sql, ids.get("delayed-delivery")) >= 2900, true);
  assertEquals(await seatCameFirst(stack, ids.get("event-too-early")), true);

  // A dead letter of a provider that is back.
  const down = ids.get("provider-down") ?? "";
  await redrive(stack, down);
  await endsAs(sql, "provider-down", down, { ...COMPLETED, letters: ["retries exhausted after 4"] });
  await auditIsClean(stack);
});

Deno.test("a crash ends its process once, and the order ends right all the same", async () => {
  await using stack = await startStack(
    // No reconciliation: a second copy of the poison message would be processed once the first has used up the crashes.
    { FAULTS_ENABLED: "true", OUTBOX_RECONCILE_AFTER_MS: "86400000" },
    { revive: true, apart: ["outbox-relay", "payments-order-created"] },
  );
  const { sql } = stack.db;
  for (const [name, ended] of Object.entries(ROUGH)) {
    const before = stack.crashes.length;
    const id = await play(stack, name);
    const isPoison = name === "poison-message";
    await endsAs(sql, name, id, isPoison ? { ...PENDING, letters: poisoned } : COMPLETED, 60_000);
    await eventually(`${name} to have struck`, async () => await left(sql) === 0);
    await hasEnded(stack, before + ended.length);
    assertEquals(stack.crashes.slice(before), ended, name);
    if (isPoison) {
      await redrive(stack, id);
      await endsAs(sql, name, id, { ...COMPLETED, letters: poisoned });
    }
    if (name === "crash-after-confirm" || name === "crash-after-commit") {
      await eventually(`the repeat of ${name} to be absorbed`, async () => await repeats(sql, id) === 1);
    }
  }
  await auditIsClean(stack);
});

Deno.test("PUT /ops/faults ends a process as often as it says, whoever's order it is", async () => {
  await using stack = await startStack(
    { FAULTS_ENABLED: "true" },
    { revive: true, apart: ["outbox-relay", "orders-payment-events"] },
  );
  const response = await fetch(`${stack.url}/ops/faults`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      faults: [
        { point: "relay.crash-after-confirm", times: 2 },
        {
          point: "consumer.crash-before-commit",
          consumer: stack.broker.topology.queues.ordersPaymentEvents.name,
        },
      ],
    }),
  });
  assertEquals(response.status, 200, await response.text());
  const id = await play(stack, "order-success");
  await endsAs(stack.db.sql, "order-success", id, COMPLETED, 60_000);
  await eventually("all to have struck", async () => await left(stack.db.sql) === 0);
  await hasEnded(stack, 3);
  assertEquals(stack.crashes.toSorted(), ["orders-payment-events", "outbox-relay", "outbox-relay"]);
  await eventually("all to be published", async () => await countUnpublished(stack.db.sql) === 0);
  await auditIsClean(stack);
});

Deno.test("without FAULTS_ENABLED nobody looks at faults", async () => {
  await using stack = await startStack({}, { apart: [] });
  const { sql } = stack.db;
  const everything = { times: 9, consumer: null, correlationId: null, delayMs: null };
  await armFaults(sql, [
    { point: "relay.crash-before-publish", ...everything },
    { point: "delivery.lost", ...everything },
    { point: "consumer.crash-before-commit", ...everything },
    { point: "provider.failing", ...everything },
  ], new Date());
  const id = await play(stack, "order-success");
  await endsAs(sql, "order-success", id, COMPLETED);
  assertEquals(await left(sql), 36);
  assertEquals(stack.crashes, []);
});

/** Plays a scenario under a correlation id of its own; answers with its order's id. */
async function play({ url }: TestStack, name: string): Promise<string> {
  const response = await fetch(`${url}/ops/scenarios/${name}`, {
    method: "POST",
    headers: { "x-correlation-id": `scenario-${name}` },
  });
  const answer = await response.json();
  assertEquals(response.status, 201, JSON.stringify(answer));
  return answer.id;
}

/** Has the dead letter of an order sent to its consumer again. */
async function redrive({ url }: TestStack, orderId: string): Promise<void> {
  const response = await fetch(`${url}/ops/dead-letters/redrive`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ orderId }),
  });
  const answer = await response.json();
  assertEquals(answer.redriven, 1, JSON.stringify(answer));
}

/** Waits until the order has come to what is `wanted`, no more and no less. */
async function endsAs(
  sql: Sql,
  name: string,
  id: string,
  wanted: OrderEnd,
  withinMs = 40_000,
): Promise<void> {
  const isThere = async () => JSON.stringify(await readOrderEnd(sql, id)) === JSON.stringify(wanted);
  await eventually(`${name} to end`, isThere, withinMs).catch(() => {});
  assertEquals(await readOrderEnd(sql, id), wanted, name);
  const twice = await sql`
    select type from outbox_events where order_id = ${id} group by type having count(*) > 1`;
  assertEquals(twice.length, 0, `${name} has an event twice`);
}

/** Waits until so many processes are known to have ended: a crash is seen a moment after what it interrupted. */
async function hasEnded({ crashes }: TestStack, count: number): Promise<void> {
  await eventually(`${count} processes to end`, () => crashes.length >= count);
}

/** Strikes that are yet to come. */
async function left(sql: Sql): Promise<number> {
  const [row] = await sql<{ left: number }[]>`select coalesce(sum(remaining), 0)::int as left from faults`;
  return row?.left ?? 0;
}

/** How often an event of the order came again. */
async function repeats(sql: Sql, orderId: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select coalesce(sum(p.duplicates), 0)::int as count
    from processed_events p join outbox_events e on e.id = p.event_id where e.order_id = ${orderId}`;
  return row?.count ?? 0;
}

/** How long after its order the payment was recorded, in milliseconds. */
async function paidAfterMs(sql: Sql, id = ""): Promise<number> {
  const [row] = await sql<{ ms: number }[]>`
    select (extract(epoch from p.created_at - o.created_at) * 1000)::int as ms
    from orders o join payments p on p.order_id = o.id where o.id = ${id}`;
  return row?.ms ?? 0;
}

/** Whether the grant had been published when the order was yet to hear of its payment. */
async function seatCameFirst({ db, broker }: TestStack, id = ""): Promise<boolean> {
  const [row] = await db.sql<{ first: boolean }[]>`
    select granted.published_at < heard.processed_at as first
    from outbox_events granted, outbox_events paid
    join processed_events heard on heard.event_id = paid.id
    where granted.order_id = ${id} and granted.type = 'enrollment.granted'
      and paid.order_id = ${id} and paid.type = 'payment.succeeded'
      and heard.consumer = ${broker.topology.queues.ordersPaymentEvents.name}`;
  return row?.first ?? false;
}

async function auditIsClean({ db, broker }: TestStack): Promise<void> {
  const audit = await eventually("a clean audit", async () => {
    const audit = await runAudit(db.sql, broker.topology, { graceSeconds: 0 });
    return audit.ok && audit;
  });
  assertEquals(audit.ok, true);
}
