// The world that the model-based test plays in: a real database whose clock can be set, a broker by hand, a provider that
// keeps a record, the consumers as their scripts make them, and what is known of all of them.

import type { ConfirmChannel } from "amqplib";
import { Buffer } from "node:buffer";
import { bindingsOf } from "../../shared/broker/connection.ts";
import { aboutOf, type Delivery } from "../../shared/broker/message.ts";
import { createPublisher } from "../../shared/broker/publish.ts";
import { type HandleBatch, type OfType, processBatch } from "../../shared/broker/settle.ts";
import { type DomainEvent, type EventType, parseEvent } from "../../shared/events.ts";
import type { OrderStatus } from "../../shared/order_status.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { TransientError } from "../../shared/process/errors.ts";
import { RESERVED_COURSES } from "../../shared/scenarios.ts";
import { connect, type Sql } from "../../shared/sql/connect.ts";
import type { DatabaseRole } from "../../shared/sql/migrate.ts";
import { openSession } from "../../shared/sql/session.ts";
import { type QueueKey, QUEUES, type Topology } from "../../shared/topology.ts";
import { enroll } from "../../workers/enrollments_payment_succeeded.ts";
import { notify } from "../../workers/notifications_final_events.ts";
import { moveEach } from "../../workers/orders/move_orders.ts";
import { createFakeProvider, type PaymentProvider } from "../../workers/payments/provider.ts";
import { charge } from "../../workers/payments_order_created.ts";
import { refund } from "../../workers/payments_refund_requested.ts";
import { createReconciler } from "../../workers/relay/reconcile.ts";
import { testClock } from "./test_clock.ts";
import { testInbox, type TestSchema } from "./test_schema.ts";

export const MINUTE_MS = 60_000;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;
export const RETENTION_DAYS = 30;
/** How far the clock of a process may be off; where that is more than the retention, it does not start. */
export const MAX_DAYS_OFF = 20;

/** What the modules have written about an order. */
export interface Effects {
  readonly payment: string | null;
  readonly seat: string | null;
  readonly told: readonly string[];
}

/** How an order can go: the statuses on its way, and what is there in the end. Written down apart from the code. */
const story = (courseId: string, path: readonly OrderStatus[], end: Effects) => ({ courseId, path, end });
export const STORIES = {
  success: story(
    RESERVED_COURSES.success,
    ["PENDING", "PAID", "COMPLETED"],
    { payment: "SUCCEEDED", seat: "GRANTED", told: ["ORDER_COMPLETED"] },
  ),
  declined: story(
    RESERVED_COURSES.paymentFailure,
    ["PENDING", "PAYMENT_FAILED"],
    { payment: "FAILED", seat: null, told: ["PAYMENT_FAILED"] },
  ),
  noSeat: story(
    RESERVED_COURSES.enrollmentFailure,
    ["PENDING", "PAID", "REFUND_IN_PROGRESS", "REFUNDED"],
    { payment: "REFUND_SUCCEEDED", seat: "FAILED", told: ["ORDER_REFUNDED"] },
  ),
};
export type Story = keyof typeof STORIES;

/** How the delivery of a batch can go. */
export const WAYS = {
  fine: "and all is well",
  deaf: "and dies before its ack",
  uncommitted: "and dies before its commit",
  silent: "while the provider is silent",
  locked: "while somebody holds the rows of its orders",
} as const;
export type Way = keyof typeof WAYS;

export interface Modelled {
  readonly key: string;
  readonly label: string;
  readonly story: Story;
  readonly amount: string;
  readonly placedAtMs: number;
  /** Null until its client has an answer. */
  id: string | null;
  /** How far it was when last looked at. */
  seen: OrderStatus;
}

/** An event as the outbox had it when last looked at. */
export interface Known {
  readonly type: EventType;
  readonly orderId: string;
  readonly publishedMs: number | null;
}

/** What who dies meets with. */
export const DEATH = "dies";
/** Of the sessions of consumers to which something happens. */
const SETTINGS: Readonly<Partial<Record<Way, Readonly<Record<string, string>>>>> = {
  uncommitted: { "orderflow_test.dies": "on" },
  locked: { lock_timeout: "20" },
};

export type World = Awaited<ReturnType<typeof openWorld>>;
type Batch = readonly Delivery<DomainEvent>[];
type Module = "orders" | "payments" | "enrollments" | "notifications";
export const moduleOf = (consumer: string) => consumer.split(".", 1).join() as Module;

/** All that there is: the database, whose clock can be set, a broker by hand, a provider, and what is known of them. */
export async function openWorld(db: TestSchema, clock: ReturnType<typeof testClock>) {
  await prepareDatabase(db.sql);
  const settings = { search_path: "public, pg_catalog" }; // so that now() is the one that can be set
  const pools = new Map<string, Sql>();
  const as = (role: DatabaseRole, more: Readonly<Record<string, string>> = {}) =>
    pools.getOrInsertComputed(`${role} ${JSON.stringify(more)}`, () => {
      return connect(db.url, { name: "model", role, max: 3, settings: { ...settings, ...more } });
    });
  const session = openSession(db.url, { name: "model", role: "orderflow_relay", settings });
  const topology = topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));
  const bindings = bindingsOf(topology);
  const consumers = Object.values(topology.queues).map(({ name }) => name);
  const broker = handBroker(topology);
  const waiting = (consumer: string) => [...broker.queue(consumer).waiting];
  /** What has moved, by the keys that the provider was given, and what it was asked for of those that it has `forgotten`. */
  const money = { charged: new Set<string>(), refunded: new Set<string>(), forgotten: new Set<string>() };
  const askedAgain: string[] = [];
  const provider = recordingProvider({ ...money, askedAgain });
  const met: Record<string, number> = {};
  const orders = new Map<string, Modelled>();
  const events = new Map<string, Known>();
  const processed = new Set<string>();
  const failures = new Map<string, number>();
  const [acked, prepared, story]: [string[], string[], string[]] = [[], [], []];
  const newReconciler = () => createReconciler({ sql: as("orderflow_relay"), bindings, afterMs: MINUTE_MS });
  let reconciler = newReconciler();
  let [aheadMs, offMs] = [0, 0];

  /** So much time passes; the clocks of the processes are `off` the database's from then on. */
  async function pass(ms: number, off = offMs): Promise<void> {
    [aheadMs, offMs] = [aheadMs + ms, off];
    clock.aheadMs = aheadMs + offMs;
    await db.sql`update model_clock set ahead = ${aheadMs}::float8 * interval '1 millisecond'`;
  }

  const about = ({ type, orderId }: Readonly<Record<"type" | "orderId", string | null>>) =>
    `${type} of ${orders.values().find(({ id }) => id === orderId)?.label ?? "nobody's order"}`;

  return {
    ...{ db, as, session, topology, bindings, consumers, broker, waiting, met, pass, about },
    ...{ orders, events, processed, failures, acked, prepared, story, money: { ...money, askedAgain } },
    hasLetters: false,
    reconciler: () => reconciler,
    count: (what: string) => void (met[what] = (met[what] ?? 0) + 1),
    tell: (line: string) => void story.push(line),
    databaseMs: () => clock.realMs() + aheadMs,
    /** A new history. It is later than all before it, whatever their clocks said: ids only go up. */
    async begin(): Promise<void> {
      await db.sql`
        truncate orders, payments, enrollments, notifications, outbox_events, processed_events, idempotency_keys,
          dead_letters, delayed_retries, suspect_deliveries, replays, replay_events, reconciliation_cursors, lost_events,
          event_history`;
      for (const known of [orders, events, processed, failures, ...Object.values(money)]) known.clear();
      for (const list of [acked, prepared, story, askedAgain]) list.length = 0;
      for (const consumer of consumers) Object.assign(broker.queue(consumer), { waiting: [], acked: [] });
      reconciler = newReconciler();
      await pass((2 * MAX_DAYS_OFF + 1) * DAY_MS, 0);
    },
    /** One of the consumers for whom something waits; where there is none, any. */
    busyConsumer(n: number): string {
      const busy = consumers.filter((consumer) => waiting(consumer).length > 0);
      return picked(busy.length > 0 ? busy : consumers, [n]).join();
    },
    words: (copies: readonly Copy[]) =>
      copies.map((copy) => `${about(copy)}${copy.deliveries > 0 ? " (again)" : ""}`).join(", "),
    async process(consumer: string, way: Way, batch: Batch) {
      const asked = way === "silent" ? silentProvider : provider;
      const process = consumersOn((role) => as(role, SETTINGS[way]), topology, asked).get(consumer);
      if (!process) throw new Error(`There is no consumer ${consumer}`);
      return await process(batch);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([session.end(), ...pools.values().map((sql) => sql.end({ timeout: 2 }))]);
    },
  };
}

/** A message in a queue, or one that was. */
export interface Copy {
  readonly content: Buffer;
  readonly fields: { readonly exchange: string; readonly routingKey: string };
  readonly properties: { readonly headers?: Record<string, unknown> };
  readonly eventId: string | null;
  readonly orderId: string | null;
  readonly type: string | null;
  /** Whether it is an event that its consumer is bound to. */
  readonly isEvent: boolean;
  deliveries: number;
}

export const isRetry = ({ properties: { headers } }: Copy) => headers !== undefined && "x-retries" in headers;

/** A broker whose queues lie open: the test decides who gets what, and in which order. */
function handBroker({ exchange: events, queues }: Topology) {
  const open = new Map<string, { waiting: Copy[]; acked: Copy[] }>();
  const queue = (consumer: string) => open.getOrInsertComputed(consumer, () => ({ waiting: [], acked: [] }));
  const boundTo = (key: string) =>
    Object.values(queues).filter(({ bindings }) => bindings.some((type) => type === key)).map(({ name }) =>
      name
    );
  function send(exchange: string, routingKey: string, content: Buffer, properties: Copy["properties"]): void {
    const parsed = parseEvent(content);
    const { eventId, type, aggregateId: orderId } = aboutOf(parsed);
    const copy = {
      content,
      properties,
      fields: { exchange, routingKey },
      eventId,
      orderId,
      type,
      deliveries: 0,
    };
    for (const name of exchange === events ? boundTo(routingKey) : [routingKey]) {
      queue(name).waiting.push({ ...copy, isEvent: parsed.ok && boundTo(parsed.event.type).includes(name) });
    }
  }
  const channel = {
    on: () => {},
    publish(
      ...[exchange, key, content, properties, onAnswer]: [...Parameters<typeof send>, (error: null) => void]
    ) {
      send(exchange, key, content, properties);
      onAnswer(null);
    },
  };
  return {
    queue,
    send,
    publisher: createPublisher(channel as unknown as ConfirmChannel),
    forget(consumer: string, copies: readonly Copy[]): void {
      const { waiting, acked } = queue(consumer);
      queue(consumer).waiting = waiting.filter((copy) => !copies.includes(copy));
      acked.push(...copies);
    },
  };
}

/**
 * Gives the database a clock that can be set, and makes commits of the sessions that are marked fail, with all that they
 * hold written: nothing of it stays.
 */
async function prepareDatabase(sql: Sql): Promise<void> {
  await sql`create table model_clock as select interval '0' as ahead`;
  await sql`grant select on model_clock to public`;
  for (const clock of ["now", "clock_timestamp"]) {
    await sql.unsafe(`
      create function public.${clock}() returns timestamptz language sql stable
      return pg_catalog.${clock}() + (select ahead from public.model_clock)`);
  }
  await sql`
    create function fail_commit() returns trigger language plpgsql as $$
    begin
      if current_setting('orderflow_test.dies', true) = 'on' then
        raise exception 'dies' using errcode = '53100';
      end if;
      return null;
    end $$`;
  await sql`
    create constraint trigger fail_commit after insert or update on processed_events
    deferrable initially deferred for each row execute function fail_commit()`;
}

/** The consumers of the purchase as their scripts make them, by their names. */
function consumersOn(as: (role: DatabaseRole) => Sql, { queues }: Topology, provider: PaymentProvider) {
  const deps = (module: Module, queue: QueueKey) => {
    const sql = as(`orderflow_${module}`);
    const asking = { provider, concurrency: 8, timeoutMs: 5000, stop: new AbortController().signal };
    return { sql, inbox: testInbox(sql, queues[queue].name), registry: null, ...asking };
  };
  const consumer = <Q extends QueueKey>(
    queue: Q,
    module: Module,
    make: (
      all: ReturnType<typeof deps>,
    ) => HandleBatch<OfType<DomainEvent, (typeof QUEUES)[Q]["bindings"][number]>>,
  ) => {
    const types: readonly (typeof QUEUES)[Q]["bindings"][number][] = QUEUES[queue].bindings;
    const handle = make(deps(module, queue));
    return [queues[queue].name, (batch: Batch) => processBatch(batch, types, handle)] as const;
  };
  return new Map([
    consumer("paymentsOrderCreated", "payments", charge),
    consumer("ordersPaymentEvents", "orders", moveEach),
    consumer("enrollmentsPaymentSucceeded", "enrollments", enroll),
    consumer("ordersLifecycleEvents", "orders", moveEach),
    consumer("paymentsRefundRequested", "payments", refund),
    consumer("notificationsFinalEvents", "notifications", notify),
  ]);
}

/** The fake provider, which keeps a record of what it did, by its idempotency keys. */
function recordingProvider({ charged, refunded, forgotten, askedAgain }: World["money"]): PaymentProvider {
  const fake = createFakeProvider({ latencyMs: 0 });
  return {
    async charge(request, signal) {
      const { idempotencyKey: key } = request;
      if (forgotten.has(key)) askedAgain.push(key);
      const result = await fake.charge(request, signal);
      if (result.kind === "charged") charged.add(key);
      return result;
    },
    refund(request, signal) {
      const { idempotencyKey: key } = request;
      if (forgotten.has(key)) askedAgain.push(key);
      refunded.add(key);
      return fake.refund(request, signal);
    },
  };
}

const isSilent = () => Promise.reject(new TransientError("the provider is silent"));
const silentProvider: PaymentProvider = { charge: isSilent, refund: isSilent };

/** The one that each number picks, of those that are there: none of none. */
export function picked<T>(from: readonly T[], picks: readonly number[]): T[] {
  return picks.flatMap((n) => from.slice(n % from.length).slice(0, 1));
}
