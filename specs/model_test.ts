import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { createOrderPlacer } from "../api/place_orders.ts";
import { runAudit } from "../shared/ops/audit.ts";
import type { OrderStatus } from "../shared/order_status.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../shared/process/config.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../shared/scenarios.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { createWakeUps } from "../shared/sql/outbox.ts";
import {
  type HandBroker,
  handBroker,
  history,
  type Message,
  type Step,
  type Story,
  type Way,
  WAYS,
} from "./support/hand_broker.ts";
import { testLog } from "./support/test_log.ts";
import { shareTestSchema, testSchema } from "./support/test_schema.ts";

shareTestSchema();

const RUNS = Number(Deno.env.get("MODEL_RUNS")) || 50;
/** More than the longest chain of events, times the two looks that an early one needs. */
const MAX_ROUNDS = 20;
/** How long to look for a shorter history that fails as well, in milliseconds. */
const SHRINK_MS = 20_000;

/** What the modules have written about an order. */
interface Effects {
  readonly payment: string | null;
  readonly seat: string | null;
  readonly told: readonly string[];
}

/** How an order can go: the statuses on its way, and what is there in the end. Written down apart from the code. */
const STORIES: Readonly<
  Record<Story, { readonly courseId: string; readonly path: readonly OrderStatus[]; readonly end: Effects }>
> = {
  success: {
    courseId: RESERVED_COURSES.success,
    path: ["PENDING", "PAID", "COMPLETED"],
    end: { payment: "SUCCEEDED", seat: "GRANTED", told: ["ORDER_COMPLETED"] },
  },
  declined: {
    courseId: RESERVED_COURSES.paymentFailure,
    path: ["PENDING", "PAYMENT_FAILED"],
    end: { payment: "FAILED", seat: null, told: ["PAYMENT_FAILED"] },
  },
  noSeat: {
    courseId: RESERVED_COURSES.enrollmentFailure,
    path: ["PENDING", "PAID", "REFUND_IN_PROGRESS", "REFUNDED"],
    end: { payment: "REFUND_SUCCEEDED", seat: "FAILED", told: ["ORDER_REFUNDED"] },
  },
};

/** An order as the model knows it: how it is to go, and how far it was when last looked at. */
interface Modelled {
  readonly story: Story;
  seen: OrderStatus;
}

Deno.test("orders end right under any history of deliveries, repeats, races and deaths, and are right at every step of it", async () => {
  await using db = await testSchema();
  const topology = topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));
  await using broker = await handBroker(db, topology);
  const orders = new Map<string, Modelled>();
  const met = new Map<string, number>(); // what the histories have led to, so that they stay as wild as they are meant
  const count = (what: string) => met.set(what, (met.get(what) ?? 0) + 1);
  const opsSql = db.as("orderflow_ops");
  const placeOrder = createOrderPlacer(db.as("orderflow_orders"), createWakeUps(), testLog);

  async function place(stories: readonly Story[]): Promise<void> {
    await Promise.all(stories.map(async (story) => {
      const request = { userId: SCENARIO_USER, courseId: STORIES[story].courseId, amount: "49.90" };
      const { id } = await placeOrder(request, { correlationId: "model", traceparent: null });
      orders.set(id, { story, seen: "PENDING" });
    }));
  }

  async function deliver(consumer: string, batch: readonly Message[], way: Way): Promise<void> {
    const verdicts = await broker.deliver(consumer, batch, way);
    if (verdicts === null) return void count(way);
    assertEquals(verdicts.filter(({ kind }) => kind === "rejected"), []);
    if (verdicts.some(({ kind }) => kind === "done") && way !== "fine") count(way);
    for (const { kind } of verdicts) count(kind);
  }

  async function take({ place: stories, relay, hands }: Step): Promise<void> {
    await place(stories);
    if (relay !== "sleeps") await broker.relay(relay === "dies");
    const busy = broker.consumers.filter((consumer) => broker.pending(consumer).length > 0);
    const batches = hands.flatMap(({ consumer: n, pending, repeats, way }) => {
      const among = busy.length > 0 ? busy : broker.consumers;
      const consumer = among[n % among.length] ?? "";
      const batch = [
        ...picked(broker.pending(consumer), pending),
        ...picked(broker.acked(consumer), repeats),
      ];
      return batch.length > 0 ? [{ consumer, batch, way }] : [];
    });
    const names = batches.map(({ consumer }) => consumer);
    if (new Set(names).size < names.length) count("copies at once");
    await allDone(batches.map(({ consumer, batch, way }) => deliver(consumer, batch, way)));
    await checkRows(db.sql, orders);
    await checkInbox(db.sql, broker);
  }

  /** Whoever is alive gets all that waits, until nothing does. */
  async function settle(): Promise<void> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      await broker.relay(false);
      const waiting = broker.consumers.filter((consumer) => broker.pending(consumer).length > 0);
      if (waiting.length === 0) return;
      await allDone(waiting.map((consumer) => deliver(consumer, broker.pending(consumer), "fine")));
    }
    throw new Error(
      `After ${MAX_ROUNDS} rounds, messages still wait: ${[...orders.values()].map((o) => o.seen)}`,
    );
  }

  async function violations(graceSeconds: number) {
    const { checks } = await runAudit(opsSql, topology, { graceSeconds });
    return checks.filter(({ count }) => count > 0);
  }

  let failedAt = Infinity;
  const property = fc.asyncProperty(history, async ({ first, steps }) => {
    if (performance.now() > failedAt + SHRINK_MS) return; // short enough: what is left to try passes
    try {
      await db.sql`truncate orders, payments, enrollments, notifications, outbox_events, processed_events`;
      broker.reset();
      orders.clear();
      await place(first);
      for (const step of steps) await take(step);
      assertEquals(await violations(3600), []); // what is under way is none
      await settle();
      await checkRows(db.sql, orders);
      await checkEnd(db.sql, orders, broker);
      assertEquals(await violations(0), []);
    } catch (error) {
      failedAt = Math.min(failedAt, performance.now());
      throw error;
    }
  });
  await fc.assert(property, { numRuns: RUNS });

  const never = ["done", "duplicate", "early", "failed", "copies at once", ...WAYS.slice(1)]
    .filter((what) => !met.has(what));
  if (RUNS >= 50) assertEquals(never, [], "the histories have become too tame to prove anything");
});

interface OrderRows extends Effects {
  readonly id: string;
  readonly status: OrderStatus;
  readonly events: readonly string[];
}

/** Each order with all that the modules have written about it. A second payment or seat of one would be a second row. */
async function readOrders(sql: Sql): Promise<OrderRows[]> {
  return await sql<OrderRows[]>`
    select o.id, o.status, p.status as payment, e.status as seat,
           (select coalesce(json_agg(n.type), '[]') from notifications n where n.order_id = o.id) as told,
           (select coalesce(json_agg(x.type), '[]') from outbox_events x where x.order_id = o.id) as events
    from orders o left join payments p on p.order_id = o.id left join enrollments e on e.order_id = o.id`;
}

/** What holds at every moment: each order is on its story's path and has never gone back, and events match rows. */
async function checkRows(sql: Sql, orders: ReadonlyMap<string, Modelled>): Promise<void> {
  const rows = await readOrders(sql);
  assertEquals(rows.map(({ id }) => id).toSorted(), [...orders.keys()].toSorted());
  for (const { id, status, payment, seat, told, events } of rows) {
    const order = orders.get(id);
    assert(order);
    const { path, end } = STORIES[order.story];
    const about = `${order.story}: ${order.seen} → ${status}, payment ${payment}, seat ${seat}`;
    assert(path.includes(status) && path.indexOf(status) >= path.indexOf(order.seen), about);
    order.seen = status;
    assert(payment === null || payment === end.payment || payment === "SUCCEEDED", about);
    assert(seat === null || seat === end.seat, about);
    assertEquals(told, told.length > 0 ? end.told : [], about);
    const isUnderRefund = status === "REFUND_IN_PROGRESS" || status === "REFUNDED";
    assert(payment !== "REFUND_SUCCEEDED" || (isUnderRefund && seat === "FAILED"), about);
    const facts: Record<string, boolean> = {
      "enrollment.failed": seat === "FAILED",
      "enrollment.granted": seat === "GRANTED",
      "notification.sent": told.length > 0,
      "order.created": true,
      "payment.failed": payment === "FAILED",
      "payment.succeeded": payment === "SUCCEEDED" || payment === "REFUND_SUCCEEDED",
      "refund.requested": isUnderRefund,
      "refund.succeeded": payment === "REFUND_SUCCEEDED",
    };
    const known = events.filter((type) => type in facts); // what others tell of a purchase is not the model's
    assertEquals(known.toSorted(), Object.keys(facts).filter((type) => facts[type]), about);
  }
}

/** Whatever was acked is in the inbox: the effects of a message that is gone have committed. */
async function checkInbox(sql: Sql, broker: HandBroker): Promise<void> {
  const rows = await sql<{ key: string }[]>`select consumer || ' ' || event_id as key from processed_events`;
  const inbox = new Set(rows.map(({ key }) => key));
  const acked = broker.consumers.flatMap((consumer) =>
    broker.acked(consumer).map(({ eventId }) => `${consumer} ${eventId}`)
  );
  assertEquals(acked.filter((key) => !inbox.has(key)), []);
}

/** Every order is where its story ends, with its effects, and as much money has moved as the rows say. */
async function checkEnd(
  sql: Sql,
  orders: ReadonlyMap<string, Modelled>,
  { money }: HandBroker,
): Promise<void> {
  for (const { id, status, payment, seat, told } of await readOrders(sql)) {
    const { path, end } = STORIES[orders.get(id)?.story ?? "success"];
    assertEquals({ status, payment, seat, told }, { status: path.at(-1), ...end });
  }
  const payments = await sql<{ id: string; orderId: string; status: string }[]>`
    select id, order_id as "orderId", status from payments where status <> 'FAILED'`;
  const refunds = payments.filter(({ status }) => status === "REFUND_SUCCEEDED");
  assertEquals([...money.charged].toSorted(), payments.map(({ orderId }) => orderId).toSorted());
  assertEquals([...money.refunded].toSorted(), refunds.map(({ id }) => id).toSorted());
}

/** Waits for all of them, so that none is at work any more when one has failed. */
async function allDone(work: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}

function picked<T>(from: readonly T[], picks: readonly number[]): T[] {
  return picks.flatMap((n) => from.slice(n % from.length).slice(0, 1));
}
