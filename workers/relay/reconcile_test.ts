import { assert, assertEquals } from "@std/assert";
import { bindingsOf } from "../../shared/broker/connection.ts";
import type { Publisher } from "../../shared/broker/publish.ts";
import { runAudit } from "../../shared/ops/audit.ts";
import { closeLetters, listDeadLetters } from "../../shared/ops/dead_letters.ts";
import { beforeCommit, holdPart, resumePart } from "../../shared/ops/holds.ts";
import { uuids } from "../../shared/sql/connect.ts";
import { markingPublished } from "../../shared/sql/outbox.ts";
import {
  claimDueRetries,
  insertDeadLetters,
  insertRetries,
  markRetriesSent,
} from "../../shared/sql/set_aside.ts";
import type { Topology } from "../../shared/topology.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testTopology } from "../../specs/support/test_broker.ts";
import {
  insertPublished,
  newLetter,
  newRetry,
  orderCreated,
  paymentSucceeded,
} from "../../specs/support/test_events.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { createReconciler, keepReconciling, type ReconcileWire } from "./reconcile.ts";

shareTestSchema();

const AFTER_MS = 60_000;
const HOUR_MS = 3_600_000;

/** A database, a broker, and reconcilers between the two, as the relay makes one. */
async function stage() {
  const db = await testSchema();
  const { topology } = testTopology();
  const consumer = topology.queues.paymentsOrderCreated.name;
  const broker = takingBroker(topology);
  const reconciler = (afterMs = AFTER_MS, bindings = bindingsOf(topology)) =>
    createReconciler({ sql: db.as("orderflow_relay"), bindings, afterMs });
  const standing = reconciler();
  return {
    db,
    topology,
    broker,
    consumer,
    reconciler,
    /** What a pass has sent, by consumer. */
    async pass(by = standing, wire: ReconcileWire = broker): Promise<Readonly<Record<string, number>>> {
      return (await by.pass(wire)).resent;
    },
    /** An `order.created` that was published, now or so long ago. */
    publish: (agoMs = HOUR_MS) =>
      insertPublished(db.sql, "order.created", orderCreated().event.data, {
        at: new Date(Date.now() - agoMs),
      }),
    /** What an audit of the whole database says is lost. */
    async audit(graceSeconds: number): Promise<unknown[]> {
      const { checks } = await runAudit(db.as("orderflow_ops"), topology, { graceSeconds });
      const lost = checks.find(({ check }) => check === "event lost on its way to a consumer");
      return lost?.violations.map(({ eventId }) => eventId).toSorted() ?? [];
    },
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

type Stage = Awaited<ReturnType<typeof stage>>;

/** A broker that takes what it `takes`, counts how often it got each event, and has its queues empty and consumed. */
function takingBroker(topology: Topology, takes = (_id: string) => true) {
  const sent = new Map<string, number>();
  const publisher: Publisher = {
    publish(messages) {
      const { confirmed = [], refused = [] } = Object.groupBy(
        messages.map(({ id }) => id),
        (id) => takes(id) ? "confirmed" : "refused",
      );
      for (const id of confirmed) sent.set(id, (sent.get(id) ?? 0) + 1);
      const why = refused.map((id) => ({ id, error: "no room" }));
      return Promise.resolve({ confirmed, refused: why, unknown: [], offence: null });
    },
  };
  const queues = Object.values(topology.queues).map(({ name }) => ({
    queue: name,
    messages: 0,
    consumers: 1,
  }));
  return { publisher, readQueues: () => Promise.resolve(queues), sent };
}

/** So many events, four in each millisecond up to an hour ago, with as little in them as may be, processed by `consumer`. */
async function publishMany(
  { sql }: TestSchema,
  events: number,
  { type = "order.created", processedBy }: { type?: string; processedBy?: string } = {},
): Promise<void> {
  await sql`
    with made as (
      insert into outbox_events (id, type, order_id, correlation_id, payload, occurred_at, published_at)
      select id, ${type}, id, 'c', '{}', at, at
      from generate_series(1, ${events}::int) as n,
           lateral (select now() - interval '1 hour' - (${events}::int - n) * interval '250 us' as at) as time,
           lateral (select (lpad(to_hex(n), 8, '0') || substr(gen_random_uuid()::text, 9))::uuid as id) as named
      returning id
    )
    insert into processed_events
    select id, ${processedBy ?? ""}, now() from made where ${processedBy !== undefined}`;
}

async function process({ sql }: TestSchema, consumer: string, ids?: readonly string[]): Promise<void> {
  await sql`
    insert into processed_events select id, ${consumer}, now()
    from ${ids ? sql`unnest(${uuids(ids)}::text::uuid[]) as id` : sql`outbox_events`} on conflict do nothing`;
}

/** An hour passes: everything that has a time by the database's clock is an hour older. */
async function passAnHour({ sql }: TestSchema): Promise<void> {
  await sql`update outbox_events set published_at = published_at - interval '1 hour'`;
  await sql`update delayed_retries set sent_at = sent_at - interval '1 hour'`;
  await sql`update dead_letters set resolved_at = resolved_at - interval '1 hour'`;
  await sql`update lost_events set sent_at = sent_at - interval '1 hour'`;
  await sql`update reconciliation_cursors
    set sent_until = sent_until - interval '1 hour', bound_since = bound_since - interval '1 hour'`;
}

/** Has an operator close all open letters. */
async function closeAll({ db }: Stage, state: "DISCARDED" | "REDRIVEN"): Promise<void> {
  const open = await listDeadLetters(db.sql, { limit: 10, state: "OPEN" });
  await closeLetters(db.as("orderflow_ops"), open.map(({ id }) => id), state, "r");
}

Deno.test("a letter of a spoilt copy hides no loss; one of the event itself, or of a sound copy of it, is its end", async () => {
  await using it = await stage();
  const ids = await Promise.all([1, 2, 3, 4].map(() => it.publish()));
  const [spoilt = "", renamed = "", sound = "", unreadable = ""] = ids;
  const rows = await it.db.sql`select payload::text as text from outbox_events where id = ${unreadable}`;
  const body = new TextEncoder().encode(rows[0]?.text);
  await insertDeadLetters(it.db.as("orderflow_payments"), [
    newLetter(it.consumer, { eventId: spoilt, isMalformed: true }),
    newLetter(it.consumer, { eventId: renamed, eventType: "payment.failed" }),
    newLetter(it.consumer, { eventId: sound }),
    newLetter(it.consumer, { eventId: unreadable, isMalformed: true, body }),
  ]);
  assertEquals(await it.audit(0), [spoilt, renamed].toSorted());
  await it.pass();
  assertEquals([...it.broker.sent.keys()].toSorted(), [spoilt, renamed].toSorted());
});

Deno.test("createReconciler() re-sends what a consumer lacks, to that consumer alone, until it has it, whatever restarts", async () => {
  await using it = await stage();
  const { enrollmentsPaymentSucceeded: lacking, ordersPaymentEvents } = it.topology.queues;
  const at = new Date(Date.now() - HOUR_MS);
  const id = await insertPublished(it.db.sql, "payment.succeeded", paymentSucceeded().event.data, { at });
  const behind = await it.publish();
  await process(it.db, ordersPaymentEvents.name);
  await process(it.db, it.consumer, [behind]);
  assertEquals(await it.pass(), { [lacking.name]: 1 });
  // An inbox that has forgotten shows that nobody looks at what is behind the cursor again.
  await it.db.sql`delete from processed_events where consumer = ${it.consumer}`;
  assertEquals(await it.pass(it.reconciler()), {}, "it was sent a moment ago");
  await passAnHour(it.db);
  assertEquals(await it.pass(it.reconciler()), { [lacking.name]: 1 }, "an hour later that copy is lost too");
  assertEquals([...it.broker.sent], [[id, 2]]);
  await process(it.db, lacking.name);
  await passAnHour(it.db);
  assertEquals(await it.pass(), {});
  assertEquals((await it.db.sql`select from lost_events`).count, 0);
});

Deno.test("createReconciler() sends nothing to a queue that has messages, no consumer, or no answer, or to who is held, or was a moment ago", async () => {
  await using it = await stage();
  const ops = it.db.as("orderflow_ops");
  const hold = (part: string) => holdPart(ops, { part, forSeconds: 600, because: null });
  const queue = it.consumer;
  await it.publish();
  const stands = [[{ queue, messages: 3, consumers: 1 }], [{ queue, messages: 0, consumers: 0 }], []];
  for (const queues of stands) {
    const wire = { ...it.broker, readQueues: () => Promise.resolve(queues) };
    assertEquals(await it.pass(it.reconciler(), wire), {});
  }
  for (const part of [it.consumer, beforeCommit(it.consumer)]) {
    await it.db.sql`delete from holds`;
    await hold(part);
    assertEquals(await it.pass(), {}, `${part} is held`);
    await resumePart(ops, part);
    assertEquals(await it.pass(), {}, `${part} was held`);
  }
  await it.db.sql`update holds set until = now() - ${AFTER_MS} * interval '1 millisecond'`;
  await hold(it.topology.queues.paymentsRefundRequested.name);
  assertEquals(await it.pass(), { [queue]: 1 }, "once all of that is over, it has lost that one");
});

Deno.test("createReconciler() leaves alone what is young, put aside, not yet published, or nobody's", async () => {
  await using it = await stage();
  const { data, data: { orderId } } = orderCreated().event;
  const aside = await it.publish();
  await it.publish(0);
  await insertPublished(it.db.sql, "order.created", data, { at: new Date(0), published: false });
  const notice = { orderId, notificationId: orderId, notificationType: "ORDER_COMPLETED" } as const;
  await insertPublished(it.db.sql, "notification.sent", notice, { at: new Date(Date.now() - HOUR_MS) });
  await insertDeadLetters(it.db.sql, [newLetter(it.consumer, { eventId: aside })]);
  assertEquals(await it.pass(), {});
  await closeAll(it, "DISCARDED");
  await passAnHour(it.db);
  assertEquals(await it.pass(), { [it.consumer]: 1 });
  assert(!it.broker.sent.has(aside), "what was discarded");
});

Deno.test("createReconciler() takes nothing for lost that went out a moment ago, and all of it when it does not arrive", async () => {
  await using it = await stage();
  const ids = [await it.publish(), await it.publish(), await it.publish(), await it.publish()];
  const [late = "", retried = "", redriven = "", later = ""] = ids;
  const relay = it.db.as("orderflow_relay");
  await it.db.sql`update outbox_events set published_at = null where id in ${it.db.sql([late, later])}`;
  await insertRetries(it.db.sql, [newRetry(it.consumer, { eventId: retried })]);
  await insertDeadLetters(it.db.sql, [newLetter(it.consumer, { eventId: redriven })]);
  assertEquals(await it.pass(), {}, "the cursor passes all of them by");

  await markingPublished(relay, [late, later]);
  await markRetriesSent(relay, await claimDueRetries(relay, 1));
  await closeAll(it, "REDRIVEN");
  assertEquals(await it.pass(), {}, "they are on their way");
  await passAnHour(it.db);
  assertEquals(await it.pass(it.reconciler()), { [it.consumer]: 4 });
  assertEquals(new Set(it.broker.sent.keys()), new Set(ids));
});

Deno.test("createReconciler() forgets nothing that a less patient relay has found lost", async () => {
  await using it = await stage();
  const id = await it.publish(AFTER_MS / 2);
  const impatient = it.reconciler(0);
  await eventually("it to be sent again", async () => it.consumer in await it.pass(impatient));
  assertEquals(await it.pass(), {});
  await passAnHour(it.db);
  assertEquals(await it.pass(), { [it.consumer]: 1 });
  assertEquals([...it.broker.sent], [[id, 2]]);
});

Deno.test("createReconciler() finds one lost event behind 200,000 processed ones within two passes, and another consumer's backlog", async () => {
  await using it = await stage();
  const { ordersLifecycleEvents, notificationsFinalEvents } = it.topology.queues;
  await publishMany(it.db, 200_000, { processedBy: it.consumer });
  await publishMany(it.db, 10_000, { type: "enrollment.granted", processedBy: ordersLifecycleEvents.name });
  const id = await it.publish(2 * AFTER_MS);
  const queues = (await it.broker.readQueues()).map((queue) =>
    queue.queue === notificationsFinalEvents.name ? { ...queue, messages: 10_000, consumers: 0 } : queue
  );
  const wire = { ...it.broker, readQueues: () => Promise.resolve(queues) };
  const reconciler = it.reconciler();
  for (let passes = 0; passes < 2; passes++) await it.pass(reconciler, wire);
  assertEquals([...it.broker.sent], [[id, 1]]);
});

Deno.test("createReconciler() brings 100,000 lost events back, a bounded part in each pass, each of them once", async () => {
  await using it = await stage();
  const { sent } = it.broker;
  await publishMany(it.db, 100_000);
  const sizes: number[] = [];
  const next = async () => sizes.push((await it.pass())[it.consumer] ?? 0);
  await next();
  await next(); // its consumer has them all in its hands, so that the queue is empty
  const [list] = await it.db.sql`select count(*)::int as count from lost_events`;
  assert(list?.count <= 30_000, `${list?.count} events are remembered`);
  for (let round = 0; round < 4; round++) {
    await process(it.db, it.consumer, [...sent.keys()]);
    await next();
  }
  assertEquals(sizes, [25_000, 0, 25_000, 25_000, 25_000, 0]);
  assertEquals([sent.size, new Set(sent.values())], [100_000, new Set([1])]);
});

Deno.test("createReconciler() owes a new binding nothing of what was published before it", async () => {
  await using it = await stage();
  await it.publish();
  const older = bindingsOf(it.topology).filter((binding) => binding.consumer !== it.consumer);
  await it.pass(it.reconciler(AFTER_MS, older));

  const reconciler = it.reconciler();
  assertEquals(await it.pass(reconciler), {}, "the past is a replay's work");
  await it.publish(0);
  await passAnHour(it.db);
  assertEquals(await it.pass(reconciler), { [it.consumer]: 1 });
  await process(it.db, it.consumer, [...it.broker.sent.keys()]);
  assertEquals(await it.audit(60), [], "nor does the audit miss it");
});

Deno.test("createReconciler() does not pass by what was published in a transaction that is still open", async () => {
  await using it = await stage();
  const [early, second] = [await it.publish(0), await it.publish(0)];
  await it.db.sql`update outbox_events set published_at = null`;
  const reconciler = it.reconciler(0);
  await it.pass(reconciler);
  await it.db.as("orderflow_relay").begin(async (tx) => {
    await markingPublished(tx, [early]);
    await markingPublished(it.db.as("orderflow_relay"), [second]);
    for (let passes = 0; passes < 3; passes++) await it.pass(reconciler);
  });
  await eventually("both to be sent again", async () => {
    await it.pass(reconciler);
    return it.broker.sent.size === 2;
  });
  assert(it.broker.sent.has(early));
});

/** Keeps reconciling; disposing of it ends that. */
function keep({ db, topology }: Stage, wire: () => ReconcileWire, intervalMs: number): AsyncDisposable {
  const stop = new AbortController();
  const sql = db.as("orderflow_relay");
  const options = { sql, bindings: bindingsOf(topology), afterMs: AFTER_MS, wire, intervalMs, log: testLog };
  const running = keepReconciling(options, stop.signal);
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

Deno.test("keepReconciling() does a pass of one relay at a time", async () => {
  await using it = await stage();
  await it.publish();
  const [begun, other] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const publisher: Publisher = {
    async publish(...args) {
      begun.resolve();
      await other.promise;
      return await it.broker.publisher.publish(...args);
    },
  };
  await using _first = keep(it, () => ({ ...it.broker, publisher }), 5);
  await begun.promise;
  let looks = 0;
  await using _second = keep(it, () => {
    if (++looks > 3) other.resolve(); // three times it has found the other one at work
    return it.broker;
  }, 5);
  await eventually("the first one to have sent", () => it.broker.sent.size > 0);
  const looked = looks;
  await eventually("more looks", () => looks > looked + 3);
  assertEquals([...it.broker.sent.values()], [1]);
});

Deno.test("keepReconciling() sends again what the broker did not take, and does not wait for the next round while anything is lost", async () => {
  await using it = await stage();
  const [first, second] = [await it.publish(), await it.publish()];
  const broker = takingBroker(it.topology, (id) => id === first || broker.sent.has(first));
  await using _keeping = keep(it, () => broker, HOUR_MS);
  await eventually("the second one to be sent as well", () => broker.sent.has(second));
  assertEquals([...broker.sent], [[first, 1], [second, 1]]);
});
