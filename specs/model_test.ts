/**
 * Whatever the broker, the relay and the processes do, orders end right and are right at every moment.
 *
 * @module
 */
import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { createOrderPlacer } from "../api/place_orders.ts";
import { bindingsOf } from "../shared/broker/connection.ts";
import {
  type HandleBatch,
  type OfType,
  type Outcome,
  type Processable,
  processBatch,
} from "../shared/broker/settle.ts";
import { type DomainEvent, parseEvent } from "../shared/events.ts";
import { runAudit } from "../shared/ops/audit.ts";
import type { OrderStatus } from "../shared/order_status.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../shared/process/config.ts";
import { TransientError } from "../shared/process/errors.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../shared/scenarios.ts";
import { connect, type Sql } from "../shared/sql/connect.ts";
import type { DatabaseRole } from "../shared/sql/migrate.ts";
import { claimingEvents, createWakeUps, markingPublished } from "../shared/sql/outbox.ts";
import { type QueueKey, QUEUES, type Topology } from "../shared/topology.ts";
import { enroll } from "../workers/enrollments_payment_succeeded.ts";
import { notify } from "../workers/notifications_final_events.ts";
import { moveEach } from "../workers/orders/move_orders.ts";
import { createFakeProvider, type PaymentProvider } from "../workers/payments/provider.ts";
import { charge } from "../workers/payments_order_created.ts";
import { refund } from "../workers/payments_refund_requested.ts";
import { testLog } from "./support/test_log.ts";
import { shareTestSchema, testInbox, type TestSchema, testSchema } from "./support/test_schema.ts";

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

/** How the delivery of a batch can go. */
const WAYS = ["fine", "dies before its commit", "dies before its ack", "provider is silent"] as const;
type Way = (typeof WAYS)[number];

interface Message extends Processable<DomainEvent> {
  readonly eventId: string;
}
type Process = (batch: readonly Message[]) => Promise<ReadonlyMap<Message, Outcome>>;
type HandBroker = Awaited<ReturnType<typeof handBroker>>;

/** The setting that marks the sessions of consumers who die when they commit. */
const DIES = "orderflow_test.dies";

/**
 * A broker, a relay and the consumers in one process: the test decides who gets what, in which order, and who dies.
 * Disposing of it closes its pools.
 */
async function handBroker(db: TestSchema, topology: Topology) {
  await letCommitsFail(db.sql);
  await using resources = new AsyncDisposableStack();
  const dying = (role: DatabaseRole): Sql => {
    const sql = connect(db.url, { name: "test", role, max: 4, settings: { [DIES]: "on" } });
    resources.defer(() => sql.end({ timeout: 2 }));
    return sql;
  };
  /** What money has moved, by the keys that the provider was given: orders for charges, payments for refunds. */
  const money = { charged: new Set<string>(), refunded: new Set<string>() };
  const provider = recordingProvider(money);
  const fine = consumersOn((role) => db.as(role), topology, provider);
  const ways: Readonly<Record<Way, ReadonlyMap<string, Process>>> = {
    "fine": fine,
    "dies before its ack": fine,
    "dies before its commit": consumersOn(dying, topology, provider),
    "provider is silent": consumersOn((role) => db.as(role), topology, silentProvider),
  };
  const bindings = bindingsOf(topology);
  const queues = () => new Map([...fine.keys()].map((consumer) => [consumer, new Map<string, Message>()]));
  const [pending, acked] = [queues(), queues()];
  const relaySql = db.as("orderflow_relay");
  const owned = resources.move();
  return {
    consumers: [...fine.keys()],
    money,
    pending: (consumer: string) => [...pending.get(consumer)?.values() ?? []],
    acked: (consumer: string) => [...acked.get(consumer)?.values() ?? []],
    /** Publishes all that the outbox holds. One that `dies` does so before it has marked anything: all comes again. */
    async relay(dies: boolean): Promise<void> {
      const claimed = await claimingEvents(relaySql, 10_000);
      for (const { id: eventId, type, body, traceparent } of claimed) {
        const parsed = parseEvent(new TextEncoder().encode(body));
        const retryState = { retries: 0, ageMs: 0 };
        for (const { consumer } of bindings.filter((binding) => binding.type === type)) {
          pending.get(consumer)?.set(eventId, {
            eventId,
            parsed,
            traceparent,
            retryState,
            mayBeRepeat: false,
          });
        }
      }
      if (!dies) await markingPublished(relaySql, claimed.map(({ id }) => id));
    },
    /**
     * Has a consumer handle a batch. What it has processed is acked, unless it died before; all else is pending, whether
     * or not it was. Answers with its outcomes, or with null where it died before its commit.
     */
    async deliver(consumer: string, batch: readonly Message[], way: Way): Promise<readonly Outcome[] | null> {
      const process = ways[way].get(consumer);
      if (!process) throw new Error(`There is no consumer ${consumer}`);
      for (const message of batch) pending.get(consumer)?.set(message.eventId, message);
      let outcomes: ReadonlyMap<Message, Outcome>;
      try {
        outcomes = await process(batch.map((message) => ({ ...message })));
      } catch (error) {
        if (error instanceof Error && error.message === way && way === "dies before its commit") return null;
        throw error;
      }
      for (const [message, { kind }] of way === "dies before its ack" ? [] : outcomes) {
        if (kind !== "done" && kind !== "duplicate") continue;
        pending.get(consumer)?.delete(message.eventId);
        acked.get(consumer)?.set(message.eventId, message);
      }
      return [...outcomes.values()];
    },
    /** Empties all queues, and forgets all money. */
    reset(): void {
      for (const queue of [...pending.values(), ...acked.values(), ...Object.values(money)]) queue.clear();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Makes commits of the sessions that are marked fail, with all that they hold written: nothing of it stays. */
async function letCommitsFail(sql: Sql): Promise<void> {
  await sql`
    create function fail_commit() returns trigger language plpgsql as $$
    begin
      if current_setting('orderflow_test.dies', true) = 'on' then
        raise exception 'dies before its commit' using errcode = '53100';
      end if;
      return null;
    end $$`;
  await sql`
    create constraint trigger fail_commit after insert or update on processed_events
    deferrable initially deferred for each row execute function fail_commit()`;
}

/** The consumers of the purchase as their scripts make them, by their names. */
function consumersOn(
  as: (role: DatabaseRole) => Sql,
  { queues }: Topology,
  provider: PaymentProvider,
): ReadonlyMap<string, Process> {
  const pools = new Map<DatabaseRole, Sql>(); // one a role: a given Postgres has connections for others as well
  const deps = (module: "orders" | "payments" | "enrollments" | "notifications", queue: QueueKey) => {
    const sql = pools.getOrInsertComputed(`orderflow_${module}`, as);
    return { sql, inbox: testInbox(sql, queues[queue].name), registry: null };
  };
  const asking = { provider, concurrency: 8, timeoutMs: 5000, stop: new AbortController().signal };
  const made: [string, Process][] = [];
  function add<Q extends QueueKey>(
    queue: Q,
    handle: HandleBatch<OfType<DomainEvent, (typeof QUEUES)[Q]["bindings"][number]>>,
  ): void {
    const types: readonly (typeof QUEUES)[Q]["bindings"][number][] = QUEUES[queue].bindings;
    made.push([queues[queue].name, (batch) => processBatch(batch, types, handle)]);
  }
  add("paymentsOrderCreated", charge({ ...deps("payments", "paymentsOrderCreated"), ...asking }));
  add("ordersPaymentEvents", moveEach(deps("orders", "ordersPaymentEvents")));
  add("enrollmentsPaymentSucceeded", enroll(deps("enrollments", "enrollmentsPaymentSucceeded")));
  add("ordersLifecycleEvents", moveEach(deps("orders", "ordersLifecycleEvents")));
  add("paymentsRefundRequested", refund({ ...deps("payments", "paymentsRefundRequested"), ...asking }));
  add("notificationsFinalEvents", notify(deps("notifications", "notificationsFinalEvents")));
  return new Map(made);
}

/** The fake provider, which keeps a record of what it did, by its idempotency keys. */
function recordingProvider({ charged, refunded }: HandBroker["money"]): PaymentProvider {
  const fake = createFakeProvider({ latencyMs: 0 });
  return {
    async charge(request, signal) {
      const result = await fake.charge(request, signal);
      if (result.kind === "charged") charged.add(request.idempotencyKey);
      return result;
    },
    async refund(request, signal) {
      refunded.add(request.idempotencyKey);
      return await fake.refund(request, signal);
    },
  };
}

const isSilent = () => Promise.reject(new TransientError("the provider is silent"));
const silentProvider: PaymentProvider = { charge: isSilent, refund: isSilent };

/** How an order is to go. */
type Story = "success" | "declined" | "noSeat";

const weighted = <T>(...values: readonly (readonly [weight: number, value: T])[]) =>
  fc.oneof(...values.map(([weight, value]) => ({ weight, arbitrary: fc.constant(value) })));
const stories = fc.constantFrom<Story[]>("success", "declined", "noSeat");

/** A consumer that is handed a batch: numbers that pick among what is there at that time. */
const hand = fc.record({
  /** Among the consumers for whom something waits. */
  consumer: fc.nat(5),
  /** Among the messages that wait; one may be picked twice. */
  pending: fc.array(fc.nat(20), { maxLength: 8, size: "max" }),
  /** Among those that the consumer has acked. */
  repeats: fc.array(fc.nat(20), { maxLength: 2 }),
  way: weighted<Way>([5, WAYS[0]], [2, WAYS[1]], [1, WAYS[2]], [1, WAYS[3]]),
});

/** Orders are placed, the relay runs, then some consumers get a batch each, all at once; of two for one each is a copy's. */
const step = fc.record({
  place: fc.oneof({ weight: 4, arbitrary: fc.constant<Story[]>([]) }, fc.array(stories, { maxLength: 2 })),
  relay: weighted<"works" | "dies" | "sleeps">([6, "works"], [1, "dies"], [2, "sleeps"]),
  hands: fc.array(hand, { minLength: 1, maxLength: 4, size: "max" }),
});
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** The orders at its start, and what happens then, in 20 steps at most. */
const history = fc.record({
  first: fc.array(stories, { minLength: 1, maxLength: 4 }),
  steps: fc.array(step, { maxLength: 20, size: "max" }),
});
