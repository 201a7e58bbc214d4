/**
 * A broker, a relay and the consumers in one process: a test decides who gets what, in which order, and who dies.
 *
 * @module
 */
import fc from "fast-check";
import { bindingsOf } from "../../shared/broker/connection.ts";
import {
  type HandleBatch,
  type OfType,
  type Outcome,
  type Processable,
  processBatch,
} from "../../shared/broker/settle.ts";
import { type DomainEvent, parseEvent } from "../../shared/events.ts";
import { TransientError } from "../../shared/process/errors.ts";
import { connect, type Sql } from "../../shared/sql/connect.ts";
import { type Inbox, once } from "../../shared/sql/inbox.ts";
import type { DatabaseRole } from "../../shared/sql/migrate.ts";
import { insertingNotifications } from "../../shared/sql/notifications.ts";
import { claimingEvents, markingPublished } from "../../shared/sql/outbox.ts";
import { QUEUE_KEYS, type QueueKey, QUEUES, type Topology } from "../../shared/topology.ts";
import { enroll } from "../../workers/enrollments_payment_succeeded.ts";
import { notify } from "../../workers/notifications_final_events.ts";
import { moveEach } from "../../workers/orders/move_orders.ts";
import { createFakeProvider, type PaymentProvider } from "../../workers/payments/provider.ts";
import { charge } from "../../workers/payments_order_created.ts";
import { refund } from "../../workers/payments_refund_requested.ts";
import type { Generator } from "./bad_messages.ts";
import { testInbox, type TestSchema } from "./test_schema.ts";

/** How the delivery of a batch can go. */
export const WAYS = ["fine", "dies before its commit", "dies before its ack", "provider is silent"] as const;

/** One of the ways. */
export type Way = (typeof WAYS)[number];

/** A message in a queue. */
export interface Message extends Processable<DomainEvent> {
  /** The id of the event that it carries. */
  readonly eventId: string;
}

/** The queues, and who consumes them. Disposing of it closes its pools. */
export interface HandBroker extends AsyncDisposable {
  /** The names of the consumers. */
  readonly consumers: readonly string[];
  /** What money has moved, by the keys that the provider was given: orders for charges, payments for refunds. */
  readonly money: { readonly charged: ReadonlySet<string>; readonly refunded: ReadonlySet<string> };
  /** What waits for a consumer. */
  pending(consumer: string): readonly Message[];
  /** What a consumer has acked. */
  acked(consumer: string): readonly Message[];
  /** Publishes all that the outbox holds. One that `dies` does so before it has marked anything: all comes again. */
  relay(dies: boolean): Promise<void>;
  /**
   * Has a consumer handle a batch. What it has processed is acked, unless it died before; all else is pending, whether
   * or not it was. Answers with its outcomes, or with null where it died before its commit.
   *
   * Errors: whatever else than its death stops the batch.
   */
  deliver(consumer: string, batch: readonly Message[], way: Way): Promise<readonly Outcome[] | null>;
  /** Empties all queues, and forgets all money. */
  reset(): void;
}

type Process = (batch: readonly Message[]) => Promise<ReadonlyMap<Message, Outcome>>;

/** The setting that marks the sessions of consumers who die when they commit. */
const DIES = "orderflow_test.dies";

/** Makes the queues of `topology` on the database of a test, which must have been made just for that. */
export async function handBroker(db: TestSchema, topology: Topology): Promise<HandBroker> {
  await letCommitsFail(db.sql);
  await using resources = new AsyncDisposableStack();
  const dying = (role: DatabaseRole): Sql => {
    const sql = connect(db.url, { name: "test", role, max: 4, settings: { [DIES]: "on" } });
    resources.defer(() => sql.end({ timeout: 2 }));
    return sql;
  };
  const charged = new Set<string>();
  const refunded = new Set<string>();
  const provider = recordingProvider(charged, refunded);
  const fine = consumersOn((role) => db.as(role), topology, provider);
  const ways: Readonly<Record<Way, ReadonlyMap<string, Process>>> = {
    "fine": fine,
    "dies before its ack": fine,
    "dies before its commit": consumersOn(dying, topology, provider),
    "provider is silent": consumersOn((role) => db.as(role), topology, silentProvider),
  };
  const bindings = bindingsOf(topology);
  const pending = new Map([...fine.keys()].map((consumer) => [consumer, new Map<string, Message>()]));
  const acked = new Map([...fine.keys()].map((consumer) => [consumer, new Map<string, Message>()]));
  const relaySql = db.as("orderflow_relay");

  const owned = resources.move();
  return {
    consumers: [...fine.keys()],
    money: { charged, refunded },
    pending: (consumer) => [...pending.get(consumer)?.values() ?? []],
    acked: (consumer) => [...acked.get(consumer)?.values() ?? []],
    async relay(dies) {
      const claimed = await claimingEvents(relaySql, 10_000);
      for (const { id: eventId, type, body, traceparent } of claimed) {
        const parsed = parseEvent(new TextEncoder().encode(body));
        const retryState = { retries: 0, ageMs: 0 };
        for (const binding of bindings.filter((binding) => binding.type === type)) {
          pending.get(binding.consumer)?.set(eventId, {
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
    async deliver(consumer, batch, way) {
      const process = ways[way].get(consumer);
      if (!process) throw new Error(`There is no consumer ${consumer}`);
      const unacked = (message: Message) => pending.get(consumer)?.set(message.eventId, message);
      batch.forEach(unacked);
      let outcomes: ReadonlyMap<Message, Outcome>;
      try {
        outcomes = await process(batch.map((message) => ({ ...message })));
      } catch (error) {
        if (way === "dies before its commit" && isDeath(error)) return null;
        throw error;
      }
      for (const [message, { kind }] of way === "dies before its ack" ? [] : outcomes) {
        if (kind !== "done" && kind !== "duplicate") continue;
        pending.get(consumer)?.delete(message.eventId);
        acked.get(consumer)?.set(message.eventId, message);
      }
      return [...outcomes.values()];
    },
    reset() {
      for (const queue of [...pending.values(), ...acked.values(), charged, refunded]) queue.clear();
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

function isDeath(error: unknown): boolean {
  return error instanceof Error && error.message === "dies before its commit";
}

/** The consumers of the purchase as their scripts make them, by their names. */
function consumersOn(
  as: (role: DatabaseRole) => Sql,
  { queues }: Topology,
  provider: PaymentProvider,
): ReadonlyMap<string, Process> {
  const pools = new Map<DatabaseRole, Sql>(); // one a role: a given Postgres has connections for others as well
  const deps = (role: DatabaseRole, queue: QueueKey) => {
    const sql = pools.get(role) ?? as(role);
    pools.set(role, sql);
    return { sql, inbox: testInbox(sql, queues[queue].name), registry: null };
  };
  const asking = { provider, concurrency: 8, timeoutMs: 5000, stop: new AbortController().signal };
  const charging = charge({ ...deps("orderflow_payments", "paymentsOrderCreated"), ...asking });
  const refunding = refund({ ...deps("orderflow_payments", "paymentsRefundRequested"), ...asking });
  const consumers: Readonly<Partial<Record<QueueKey, Process>>> = {
    paymentsOrderCreated: processing("paymentsOrderCreated", charging),
    ordersPaymentEvents: processing(
      "ordersPaymentEvents",
      moveEach(deps("orderflow_orders", "ordersPaymentEvents")),
    ),
    enrollmentsPaymentSucceeded: processing(
      "enrollmentsPaymentSucceeded",
      enroll(deps("orderflow_enrollments", "enrollmentsPaymentSucceeded")),
    ),
    ordersLifecycleEvents: processing(
      "ordersLifecycleEvents",
      moveEach(deps("orderflow_orders", "ordersLifecycleEvents")),
    ),
    paymentsRefundRequested: processing("paymentsRefundRequested", refunding),
    notificationsFinalEvents: processing(
      "notificationsFinalEvents",
      notify(deps("orderflow_notifications", "notificationsFinalEvents")),
    ),
  };
  const remembering = (key: QueueKey) => remember(deps("orderflow_notifications", key).inbox, key);
  return new Map(QUEUE_KEYS.map((key) => [queues[key].name, consumers[key] ?? remembering(key)]));
}

/** Stands in for a consumer that is none of the purchase: its inbox has every event, and nothing follows from one. */
function remember(inbox: Inbox, queue: QueueKey): Process {
  return processing(queue, async (received) => {
    const ids = received.map(({ event }) => event.eventId);
    await once(inbox, [], insertingNotifications, new Date(), ids);
    return received.map((): Outcome => ({ kind: "done", note: "remembered" }));
  });
}

function processing<Q extends QueueKey>(
  queue: Q,
  handle: HandleBatch<OfType<DomainEvent, (typeof QUEUES)[Q]["bindings"][number]>>,
): Process {
  const types: readonly (typeof QUEUES)[Q]["bindings"][number][] = QUEUES[queue].bindings;
  return (batch) => processBatch(batch, types, handle);
}

/** The fake provider, and a record of what it did, by its idempotency keys. */
function recordingProvider(charged: Set<string>, refunded: Set<string>): PaymentProvider {
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

/** A provider that does not answer in time. */
const silentProvider: PaymentProvider = {
  charge: () => Promise.reject(new TransientError("the provider is silent")),
  refund: () => Promise.reject(new TransientError("the provider is silent")),
};

/** How an order is to go. */
export type Story = "success" | "declined" | "noSeat";

/** A consumer that is handed a batch: numbers that pick among what is there at that time. */
export interface Hand {
  /** Picks the consumer, among those for whom something waits. */
  readonly consumer: number;
  /** Pick messages that wait; one may be picked twice. */
  readonly pending: readonly number[];
  /** Pick messages that the consumer has acked. */
  readonly repeats: readonly number[];
  /** How the delivery goes. */
  readonly way: Way;
}

/** One step of a history: orders are placed, the relay runs, then some consumers get a batch each, all at once. */
export interface Step {
  /** The orders that are placed. */
  readonly place: readonly Story[];
  /** Whether the relay publishes what there is, and lives to mark it. */
  readonly relay: "works" | "dies" | "sleeps";
  /** The batches that are delivered at once; of two for the same consumer, each is for a copy of it. */
  readonly hands: readonly Hand[];
}

const weighted = <T>(...values: readonly (readonly [weight: number, value: T])[]) =>
  fc.oneof(...values.map(([weight, value]) => ({ weight, arbitrary: fc.constant(value) })));
const stories = fc.constantFrom<Story[]>("success", "declined", "noSeat");

const hand: Generator<Hand> = fc.record({
  consumer: fc.nat(5),
  pending: fc.array(fc.nat(20), { maxLength: 8, size: "max" }),
  repeats: fc.array(fc.nat(20), { maxLength: 2 }),
  way: weighted<Way>([5, WAYS[0]], [2, WAYS[1]], [1, WAYS[2]], [1, WAYS[3]]),
});

/** A history: the orders at its start, and what happens then. */
export interface History {
  /** How the orders are to go that are there from the start. */
  readonly first: readonly Story[];
  /** What happens to them, and to those that join them. */
  readonly steps: readonly Step[];
}

/** A generator of histories, of 20 steps at most. */
export const history: Generator<History> = fc.record({
  first: fc.array(stories, { minLength: 1, maxLength: 4 }),
  steps: fc.array(
    fc.record<Step>({
      place: fc.oneof({ weight: 4, arbitrary: fc.constant([]) }, fc.array(stories, { maxLength: 2 })),
      relay: weighted<Step["relay"]>([6, "works"], [1, "dies"], [2, "sleeps"]),
      hands: fc.array(hand, { minLength: 1, maxLength: 4, size: "max" }),
    }),
    { maxLength: 20, size: "max" },
  ),
});
