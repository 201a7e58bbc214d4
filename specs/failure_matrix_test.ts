import { Buffer } from "node:buffer";
import { assertEquals } from "@std/assert";
import { connect } from "amqplib";
import { makeEvent } from "../shared/events.ts";
import { runAudit } from "../shared/ops/audit.ts";
import { armFaults, type FaultPoint, replaceFaults } from "../shared/ops/faults.ts";
import type { QueueKey } from "../shared/topology.ts";
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
import { type CuttableStack, startCuttableStack } from "./support/test_stack.ts";

shareTestSchema();

/** So much time for three delayed retries (10.5 s, give or take a fifth) on a busy machine. */
const RETRIES_MS = 60_000;

/** The rows of the failure matrix, each by its name, on one system: what is slow goes on while others are looked at. */
Deno.test("failure matrix", async (t) => {
  await using stack = await startCuttableStack({
    FAULTS_ENABLED: "true",
    PAYMENT_PROVIDER_TIMEOUT_MS: "500",
    CONSUMER_EARLY_PATIENCE_MS: "0",
    OUTBOX_RECONCILE_INTERVAL_MS: "100",
    OUTBOX_RECONCILE_AFTER_MS: "4000",
  }, { apart: [] });
  const { sql } = stack.db;
  const ends = async (id: string, end: OrderEnd) => {
    await eventually(`${id} to end as ${JSON.stringify(end)}`, async () => {
      return JSON.stringify(await readOrderEnd(sql, id)) === JSON.stringify(end);
    }, RETRIES_MS).catch(() => {}); // what it came to instead says more
    assertEquals(await readOrderEnd(sql, id), end);
  };
  await t.step("broker unreachable while publishing: retried until it is back, no dead letter", async () => {
    // Cut with confirms in flight, so that what has no answer is among it.
    const load = placeOrders(stack.url, { orders: 400, connections: 16 });
    await eventually("a part to be published", async () => {
      const [row] =
        await sql`select count(*)::int as count from outbox_events where published_at is not null`;
      return row?.count >= 100;
    });
    stack.wires.broker.cut();
    await eventually("the API to notice", async () => !await isReady(stack));
    const id = await play(stack, "order-success");
    await load;
    await eventually("events to wait", async () => await countUnpublished(sql) > 0);
    stack.wires.broker.restore();
    await ends(id, COMPLETED);
    await eventually("all of them to end", async () => await countUnfinished(sql) === 0, 30_000);
    const [row] = await sql`select max(retry_count) as most from outbox_events`;
    assertEquals(row?.most, 0, "an outage is no event's fault");
  });

  const slow = {
    timesOut: await play(stack, "database-timeout"),
    databaseFails: await playWith(stack, "database.timeout", 100, "enrollmentsPaymentSucceeded"),
    providerIsAway: await play(stack, "provider-timeout"),
    providerIsDown: await playWith(stack, "provider.failing", 100, "paymentsOrderCreated"),
    unpaid: await playWith(stack, "provider.failing", 100, "paymentsOrderCreated"),
  };
  await sendEnrollmentGranted(stack, slow.unpaid);

  await t.step("card declined: no retry, no dead letter, order PAYMENT_FAILED", async () => {
    await ends(await play(stack, "payment-failure"), DECLINED);
  });

  await t.step("duplicate delivery: no effect", async () => {
    const id = await play(stack, "duplicate-delivery");
    await ends(id, COMPLETED);
    await eventually("the repeats to be absorbed", async () => {
      const [row] = await sql`
        select coalesce(sum(p.duplicates), 0)::int as count
        from processed_events p join outbox_events e on e.id = p.event_id where e.order_id = ${id}`;
      return row?.count === countHearings("order.created", "payment.succeeded", "enrollment.granted");
    });
    await ends(id, COMPLETED);
  });

  await t.step("event ahead of its time: tried again soon", async () => {
    await ends(await play(stack, "event-too-early"), COMPLETED);
  });

  await t.step("no seat left: no retry, no dead letter, refund", async () => {
    await ends(await play(stack, "enrollment-failure"), REFUNDED);
  });

  await t.step("invalid payload, unknown version, illegal transition: a dead letter at once", async () => {
    const reasons = {
      "malformed-message": "not JSON",
      "invalid-payload": "invalid payload",
      "unknown-version": "unknown version",
    };
    for (const [scenario, reason] of Object.entries(reasons)) {
      await ends(await play(stack, scenario), { ...COMPLETED, letters: [`${reason} after 1`] });
    }
    const id = await play(stack, "payment-failure");
    await ends(id, DECLINED);
    await sendEnrollmentGranted(stack, id);
    await ends(id, { ...DECLINED, letters: ["illegal transition after 1"] });
  });

  await t.step("database times out in a consumer: retried with delay; a dead letter after 3", async () => {
    await ends(slow.timesOut, COMPLETED);
    const paid = { ...COMPLETED, status: "PAID", seats: [], notifications: [] };
    await ends(slow.databaseFails, { ...paid, letters: ["retries exhausted after 4"] });
  });

  await t.step("payment provider times out: retried before any failure; a dead letter after 3", async () => {
    await ends(slow.providerIsAway, { ...COMPLETED, payments: ["SUCCEEDED after 3"] });
    await ends(slow.providerIsDown, { ...PENDING, letters: ["retries exhausted after 4"] });
  });

  await t.step("event ahead of its time, and of its delayed retries too: a dead letter after 3", async () => {
    const both = ["retries exhausted after 4", "too early after 4"];
    await eventually("both letters", async () => {
      return (await readOrderEnd(sql, slow.unpaid)).letters.length === both.length;
    }, RETRIES_MS);
    const { letters, ...rest } = await readOrderEnd(sql, slow.unpaid);
    assertEquals({ ...rest, letters: letters.toSorted() }, { ...PENDING, letters: both });
  });

  await t.step("one action puts a dead letter right", async () => {
    await replaceFaults(sql, [], new Date());
    for (const orderId of [slow.databaseFails, slow.providerIsDown, slow.unpaid]) {
      await deadLetters(stack, "redrive", { orderId, reason: "retries exhausted" });
      await eventually("the order", async () => (await readOrderEnd(sql, orderId)).status === "COMPLETED");
    }
    await deadLetters(stack, "discard", { orderId: slow.unpaid, because: "nobody knew of that seat" });
  });

  await t.step("the broker lost its messages: reconciliation sends again what a consumer lacks", async () => {
    await ends(await play(stack, "lost-message"), COMPLETED);
  });

  await t.step("and nobody beside them was harmed", async () => {
    await placeOrders(stack.url, { orders: 20, connections: 4 });
    await eventually("the audit to be clean", async () => {
      const { checks } = await runAudit(stack.db.as("orderflow_ops"), stack.broker.topology, {
        graceSeconds: 0,
      });
      return checks.every(({ count }) => count === 0);
    }, 30_000);
    assertEquals(stack.crashes, []);
  });
});

async function play(
  { url }: CuttableStack,
  scenario: string,
  headers: Record<string, string> = {},
): Promise<string> {
  const response = await fetch(`${url}/ops/scenarios/${scenario}`, { method: "POST", headers });
  assertEquals(response.status, 201, scenario);
  return (await response.json()).id;
}

/** Places an order for which, and for which alone, a fault is armed. */
async function playWith(
  stack: CuttableStack,
  point: FaultPoint,
  times: number,
  queue: QueueKey,
): Promise<string> {
  const correlationId = crypto.randomUUID();
  const consumer = stack.broker.topology.queues[queue].name;
  await armFaults(stack.db.sql, [{ point, times, consumer, correlationId, delayMs: null }], new Date());
  return await play(stack, "order-success", { "x-correlation-id": correlationId });
}

/** Tells the order that it has a seat, past everyone who could know. */
async function sendEnrollmentGranted({ broker }: CuttableStack, orderId: string): Promise<void> {
  const data = { orderId, enrollmentId: crypto.randomUUID(), courseId: orderId };
  const { event } = makeEvent(
    "enrollment.granted",
    data,
    { correlationId: "matrix", traceparent: null },
    new Date(),
  );
  const model = await connect(broker.url);
  const channel = await model.createConfirmChannel();
  channel.sendToQueue(broker.topology.queues.ordersLifecycleEvents.name, Buffer.from(JSON.stringify(event)));
  await channel.waitForConfirms();
  await model.close();
}

async function isReady({ url }: CuttableStack): Promise<boolean> {
  const response = await fetch(`${url}/readyz`);
  await response.body?.cancel();
  return response.ok;
}

async function deadLetters(
  { url }: CuttableStack,
  action: string,
  body: Record<string, string>,
): Promise<void> {
  const response = await fetch(`${url}/ops/dead-letters/${action}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assertEquals(response.status, 200, await response.text());
}
