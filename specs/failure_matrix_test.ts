// What fails, and how it ends: every scenario, every row of the failure matrix, and crashes at the worst moments.

import { Buffer } from "node:buffer";
import { assertEquals } from "@std/assert";
import { SCENARIOS } from "../api/ops/scenarios.ts";
import { armFaults, type FaultPoint } from "../shared/ops/faults.ts";
import type { Sql } from "../shared/sql/connect.ts";
import type { QueueKey } from "../shared/topology.ts";
import { eventually } from "./support/eventually.ts";
import { callApi } from "./support/http.ts";
import {
  COMPLETED,
  countHearings,
  countUnfinished,
  countUnpublished,
  DECLINED,
  type OrderEnd,
  PENDING,
  readLedger,
  readOrderEnd,
  REFUNDED,
  settled,
  violations,
} from "./support/ledger.ts";
import { placeOrders } from "./support/place_orders.ts";
import { openWire } from "./support/test_broker.ts";
import { received } from "./support/test_events.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startCuttableStack, startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

/** So much time for three delayed retries (10.5 s, give or take a fifth) on a busy machine. */
const RETRIES_MS = 60_000;

/** By row of the matrix, the scenarios that end no process; all are played at once. */
const ROWS: Readonly<Record<string, Readonly<Record<string, OrderEnd>>>> = {
  "card declined: no retry, no dead letter, order PAYMENT_FAILED": { "payment-failure": DECLINED },
  "no seat left: no retry, no dead letter, refund": {
    "enrollment-failure": REFUNDED,
    "refund-failing": REFUNDED,
  },
  "duplicate delivery: no effect": { "duplicate-delivery": COMPLETED },
  "event ahead of its time: tried again soon": { "event-too-early": COMPLETED },
  "what is slow costs time, and nothing else": { "provider-slow": COMPLETED, "delayed-delivery": COMPLETED },
  "invalid payload, unknown version, illegal transition: a dead letter at once": {
    "malformed-message": { ...COMPLETED, letters: ["not JSON after 1"] },
    "invalid-payload": { ...COMPLETED, letters: ["invalid payload after 1"] },
    "unknown-version": { ...COMPLETED, letters: ["unknown version after 1"] },
  },
  "database times out in a consumer: retried with delay": { "database-timeout": COMPLETED },
  "payment provider times out: retried before any failure; a dead letter after 3": {
    "provider-timeout": { ...COMPLETED, payments: ["SUCCEEDED after 3"] },
    "provider-down": { ...PENDING, letters: ["retries exhausted after 4"] },
  },
  "the broker lost its messages: reconciliation sends again what a consumer lacks": {
    "lost-message": COMPLETED,
  },
};

/** Those that end a process or a connection, with whom they end. */
const ROUGH: Readonly<Record<string, readonly string[]>> = {
  "broker-connection-lost": [],
  "crash-before-publish": ["outbox-relay"],
  "crash-after-confirm": ["outbox-relay"],
  "crash-before-commit": ["payments-order-created"],
  "crash-after-commit": ["payments-order-created"],
  "poison-message": Array.from({ length: 6 }, () => "payments-order-created"),
};
/** It waits for its order, which the first system has no patience for. */
const ILLEGAL = "illegal-transition";

Deno.test("every scenario has its end in a test", () => {
  const rows = Object.values(ROWS).flatMap(Object.keys);
  const tested = [...rows, ...Object.keys(ROUGH), "order-success", ILLEGAL];
  assertEquals(tested.toSorted(), SCENARIOS.map(({ name }) => name).toSorted());
});

/** The rows of the failure matrix on one system: all that is slow is under way while others are looked at. */
Deno.test("failure matrix", async (t) => {
  await using stack = await startCuttableStack({
    FAULTS_ENABLED: "true",
    PAYMENT_PROVIDER_TIMEOUT_MS: "5000", // a slow provider takes 2 s, and more on a busy machine
    CONSUMER_EARLY_PATIENCE_MS: "0",
    OUTBOX_RECONCILE_INTERVAL_MS: "100",
    OUTBOX_RECONCILE_AFTER_MS: "8000", // longer than whatever is only slow
  }, { apart: [] });
  const { sql } = stack.db;
  const beside = placeOrders(stack.url, { orders: 50, connections: 4 });
  const names = Object.values(ROWS).flatMap(Object.keys);
  const ids = new Map(await Promise.all(names.map(async (name) => [name, await play(stack, name)] as const)));
  const databaseFails = await playWith(stack, "database.timeout", "enrollmentsPaymentSucceeded");
  const unpaid = await playWith(stack, "provider.failing", "paymentsOrderCreated");
  await sendEnrollmentGranted(stack, unpaid);
  await beside;

  for (const [row, scenarios] of Object.entries(ROWS)) {
    await t.step(row, async () => {
      for (const [name, end] of Object.entries(scenarios)) await endsAs(sql, name, ids.get(name), end);
    });
  }

  await t.step("each leaves its marks, and nobody else bears them", async () => {
    const hearings = countHearings("order.created", "payment.succeeded", "enrollment.granted");
    const repeated = ids.get("duplicate-delivery") ?? "";
    await eventually("the repeats to be absorbed", async () => await repeats(sql, repeated) === hearings);
    const marked = await sql`
      select e.order_id as id, sum(p.duplicates)::int as duplicates
      from processed_events p join outbox_events e on e.id = p.event_id where p.duplicates > 0 group by 1`;
    assertEquals(marked.map((row) => ({ ...row })), [{ id: repeated, duplicates: hearings }]);
    assertEquals(await strikesLeft(sql, "scenario-%"), 0, "each fault has struck as often as it was armed");
    const stray = await sql`
      select from outbox_events where correlation_id like 'scenario-%' group by order_id
      having count(distinct (correlation_id, traceparent)) > 1 or min(coalesce(tracestate, '')) <> 'rojo=1'`;
    assertEquals(stray.count, 0, "an order's events share one correlation id and one trace");
  });

  await t.step("illegal transition: a dead letter at once", async () => {
    const id = ids.get("payment-failure") ?? "";
    await sendEnrollmentGranted(stack, id);
    await endsAs(sql, "a seat without payment", id, { ...DECLINED, letters: ["illegal transition after 1"] });
  });

  await t.step(
    "database times out for good, event ahead of its time too: a dead letter after 3",
    async () => {
      const [exhausted, early] = ["retries exhausted after 4", "too early after 4"];
      const paid = { ...COMPLETED, status: "PAID", seats: [], notifications: [] };
      await endsAs(sql, "database", databaseFails, { ...paid, letters: [exhausted] });
      await endsAs(sql, "too early", unpaid, { ...PENDING, letters: [exhausted, early] });
    },
  );

  await t.step("one action puts a dead letter right", async () => {
    await armFaults(sql, [], new Date(), { replacing: true });
    for (const orderId of [databaseFails, ids.get("provider-down") ?? "", unpaid]) {
      await deadLetters(stack, "redrive", { orderId, reason: "retries exhausted" });
      await eventually("the order", async () => (await readOrderEnd(sql, orderId)).status === "COMPLETED");
    }
    await deadLetters(stack, "discard", { orderId: unpaid, because: "nobody knew of that seat" });
  });

  await t.step("broker unreachable while publishing: retried until it is back, no dead letter", async () => {
    const letters = (await readLedger(sql)).deadLetters;
    // Cut with confirms in flight, so that what has no answer is among it.
    const load = placeOrders(stack.url, { orders: 400, connections: 16 });
    await eventually("a part to be published", async () => {
      const [row] = await sql`select count(*)::int as count from orders`;
      return row?.count >= 200;
    });
    stack.wires.broker.cut();
    await eventually("the API to notice", async () => {
      return (await (await fetch(`${stack.url}/readyz`)).json()).broker === "down";
    });
    const id = await play(stack, "order-success");
    await load;
    assertEquals(await countUnpublished(sql) > 0, true, "events wait");
    stack.wires.broker.restore();
    await endsAs(sql, "order-success", id, COMPLETED);
    await settled(stack);
    const [row] = await sql`select max(retry_count) as most from outbox_events`;
    const spent = [row?.most, (await readLedger(sql)).deadLetters];
    assertEquals(spent, [0, letters], "an outage is no event's fault");
  });

  assertEquals([await violations(stack), await countUnfinished(sql), stack.crashes], [[], 0, []]);
});

Deno.test("a crash ends its process as often as it is armed, and the order ends right all the same", async (t) => {
  await using stack = await startStack(
    // No reconciliation: a second copy of the poison message would be processed once the first has used up the crashes.
    { FAULTS_ENABLED: "true", OUTBOX_RECONCILE_AFTER_MS: "86400000" },
    { revive: true, apart: ["outbox-relay", "payments-order-created", "orders-payment-events"] },
  );
  const { sql } = stack.db;
  const struck = async (before: number, ended: readonly string[]) => {
    await eventually("all to have struck", async () => await strikesLeft(sql) === 0);
    // A crash is seen a moment after what it interrupted.
    await eventually("the processes to end", () => stack.crashes.length >= before + ended.length);
    assertEquals(stack.crashes.slice(before).toSorted(), ended.toSorted());
  };
  for (const [name, ended] of Object.entries(ROUGH)) {
    await t.step(name, async () => {
      const before = stack.crashes.length;
      const id = await play(stack, name);
      const letters = name === "poison-message" ? ["kills its worker after 1"] : [];
      await endsAs(sql, name, id, { ...letters.length > 0 ? PENDING : COMPLETED, letters });
      await struck(before, ended);
      if (letters.length > 0) {
        await deadLetters(stack, "redrive", { orderId: id });
        await endsAs(sql, name, id, { ...COMPLETED, letters });
      }
      if (name === "crash-after-confirm" || name === "crash-after-commit") {
        await eventually(`the repeat of ${name} to be absorbed`, async () => await repeats(sql, id) === 1);
      }
    });
  }

  await t.step("PUT /ops/faults, whoever's order it is", async () => {
    const before = stack.crashes.length;
    const consumer = stack.broker.topology.queues.ordersPaymentEvents.name;
    const crash = { point: "consumer.crash-before-commit", consumer };
    const faults = [{ point: "relay.crash-after-confirm", times: 2 }, crash];
    await callApi("PUT", `${stack.url}/ops/faults`, { faults });
    await endsAs(sql, "order-success", await play(stack, "order-success"), COMPLETED);
    await struck(before, ["orders-payment-events", "outbox-relay", "outbox-relay"]);
  });

  await t.step(ILLEGAL, async () => {
    const end = { ...COMPLETED, letters: ["illegal transition after 1"] };
    await endsAs(sql, ILLEGAL, await play(stack, ILLEGAL), end);
  });
  await settled(stack);
  assertEquals(await violations(stack), []);
});

/** Plays a scenario under a correlation id of its own; answers with its order's id. */
async function play(stack: TestStack, name: string, correlationId = `scenario-${name}`): Promise<string> {
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const headers = { "x-correlation-id": correlationId, traceparent, tracestate: "rojo=1" };
  return (await callApi("POST", `${stack.url}/ops/scenarios/${name}`, undefined, headers)).id;
}

/** Places an order for which, and for which alone, a fault is armed. */
async function playWith(stack: TestStack, point: FaultPoint, queue: QueueKey): Promise<string> {
  const correlationId = crypto.randomUUID();
  const consumer = stack.broker.topology.queues[queue].name;
  await armFaults(stack.db.sql, [{ point, times: 100, consumer, correlationId, delayMs: null }], new Date());
  return await play(stack, "order-success", correlationId);
}

/** Deals with the one dead letter that is meant. */
async function deadLetters(stack: TestStack, action: "redrive" | "discard", body: object): Promise<void> {
  const answer = await callApi("POST", `${stack.url}/ops/dead-letters/${action}`, body);
  assertEquals(answer.redriven ?? answer.discarded, 1, JSON.stringify(answer));
}

/** Tells the order that it has a seat, past everyone who could know. */
async function sendEnrollmentGranted({ broker }: TestStack, orderId: string): Promise<void> {
  const { event } = received("enrollment.granted", { orderId, enrollmentId: orderId, courseId: orderId });
  await using wire = await openWire(broker);
  wire.channel.sendToQueue(
    broker.topology.queues.ordersLifecycleEvents.name,
    Buffer.from(JSON.stringify(event)),
  );
  await wire.channel.waitForConfirms();
}

/** Waits until the order has come to what is `wanted`, no more and no less. */
async function endsAs(sql: Sql, name: string, id = "", wanted: OrderEnd): Promise<void> {
  const isThere = async () => JSON.stringify(await readOrderEnd(sql, id)) === JSON.stringify(wanted);
  await eventually(`${name} to end`, isThere, RETRIES_MS).catch(() => {}); // what it came to instead says more
  assertEquals(await readOrderEnd(sql, id), wanted, name);
  const twice = await sql`
    select type from outbox_events where order_id = ${id} group by type having count(*) > 1`;
  assertEquals(twice.length, 0, `${name} has an event twice`);
}

/** Strikes that are yet to come, of faults for such orders. */
async function strikesLeft(sql: Sql, correlationIds = "%"): Promise<number> {
  const [row] = await sql<{ left: number }[]>`
    select coalesce(sum(remaining), 0)::int as left from faults
    where coalesce(correlation_id, '') like ${correlationIds}`;
  return row?.left ?? 0;
}

/** How often an event of the order came again. */
async function repeats(sql: Sql, orderId: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select coalesce(sum(p.duplicates), 0)::int as count
    from processed_events p join outbox_events e on e.id = p.event_id where e.order_id = ${orderId}`;
  return row?.count ?? 0;
}
