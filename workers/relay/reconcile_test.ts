import { assert, assertEquals } from "@std/assert";
import { bindingsOf, readQueueDepths } from "../../shared/broker/connection.ts";
import type { Publisher } from "../../shared/broker/publish.ts";
import { runAudit } from "../../shared/ops/audit.ts";
import { closeLetters, listDeadLetters } from "../../shared/ops/dead_letters.ts";
import { beforeCommit, holdPart, resumePart } from "../../shared/ops/holds.ts";
import { type Sql, uuids } from "../../shared/sql/connect.ts";
import { markingPublished } from "../../shared/sql/outbox.ts";
import {
  claimDueRetries,
  insertDeadLetters,
  insertRetries,
  markRetriesSent,
} from "../../shared/sql/set_aside.ts";
import type { Topology } from "../../shared/topology.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { openWire, testBroker, testTopology } from "../../specs/support/test_broker.ts";
import {
  insertPublished,
  newLetter,
  newRetry,
  orderCreated,
  paymentSucceeded,
} from "../../specs/support/test_events.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { createReconciler, keepReconciling, type Reconciler, type ReconcileWire } from "./reconcile.ts";

shareTestSchema();

const AFTER_MS = 60_000;
const HOUR_MS = 3_600_000;

/** A reconciler as the relay makes it, once more at each call: as after a restart. */
function reconcilerOf(db: TestSchema, topology: Topology, afterMs = AFTER_MS) {
  return createReconciler({ sql: db.as("orderflow_relay"), bindings: bindingsOf(topology), afterMs });
}

/** A database, a broker that takes everything, and a reconciler between the two. */
async function stage() {
  const db = await testSchema();
  const { topology } = testTopology();
  return {
    db,
    topology,
    broker: takingBroker(topology),
    consumer: topology.queues.paymentsOrderCreated.name,
    reconciler: reconcilerOf(db, topology),
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

/** What a pass has sent, by consumer. */
async function pass(reconciler: Reconciler, wire: ReconcileWire): Promise<Readonly<Record<string, number>>> {
  return (await reconciler.pass(wire)).resent;
}

/** A broker that takes everything, counts how often it got each event, and has its queues empty and consumed. */
function takingBroker(topology: Topology): ReconcileWire & { readonly sent: Map<string, number> } {
  const sent = new Map<string, number>();
  const publisher: Publisher = {
    publish(messages) {
      for (const { id } of messages) sent.set(id, (sent.get(id) ?? 0) + 1);
      return Promise.resolve({
        confirmed: messages.map(({ id }) => id),
        refused: [],
        unknown: [],
        offence: null,
      });
    },
  };
  const queues = Object.values(topology.queues).map(({ name }) => ({
    queue: name,
    messages: 0,
    consumers: 1,
  }));
  return { publisher, readQueues: () => Promise.resolve(queues), sent };
}

/** An `order.created` that was published, now or so long ago. */
function publish(db: TestSchema, agoMs = HOUR_MS): Promise<string> {
  return insertPublished(db.sql, "order.created", orderCreated().event.data, {
    at: new Date(Date.now() - agoMs),
  });
}

/** So many events, four in each millisecond up to an hour ago, with as little in them as may be, processed by `consumer`. */
async function publishMany(
  { sql }: TestSchema,
  events: number,
  { type = "order.created", processedBy }: { type?: string; processedBy?: string } = {},
): Promise<void> {
  for (let from = 0; from < events; from += 50_000) {
    await sql`
      with made as (
        insert into outbox_events (id, type, order_id, correlation_id, payload, occurred_at, published_at)
        select id, ${type}, id, 'c', '{}', at, at
        from generate_series(${from + 1}::int, ${Math.min(from + 50_000, events)}::int) as n,
             lateral (select now() - interval '1 hour' - (${events}::int - n) * interval '250 us' as at) as time,
             lateral (select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '70008'
               || lpad(to_hex(n), 15, '0'))::uuid as id) as made
        returning id
      )
      insert into processed_events
      select id, ${processedBy ?? ""}, now() from made where ${processedBy !== undefined}`;
  }
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

async function openLetters(sql: Sql): Promise<string[]> {
  return (await listDeadLetters(sql, { limit: 10, state: "OPEN" })).map(({ id }) => id);
}

Deno.test("a letter of a spoilt copy hides no loss; one of the event itself, or of a sound copy of it, is its end", async () => {
  await using it = await stage();
  const { db, broker, consumer, topology } = it;
  const ids = await Promise.all([1, 2, 3, 4].map(() => publish(db)));
  const [spoilt = "", renamed = "", sound = "", unreadable = ""] = ids;
  const rows = await db.sql`select payload::text as text from outbox_events where id = ${unreadable}`;
  const body = new TextEncoder().encode(rows[0]?.text);
  await insertDeadLetters(db.as("orderflow_payments"), [
    newLetter(consumer, { eventId: spoilt, isMalformed: true }),
    newLetter(consumer, { eventId: renamed, eventType: "payment.failed" }),
    newLetter(consumer, { eventId: sound }),
    newLetter(consumer, { eventId: unreadable, isMalformed: true, body }),
  ]);
  const { checks } = await runAudit(db.sql, topology, { graceSeconds: 0 });
  const missed = checks.find(({ check }) => check === "event lost on its way to a consumer");
  assertEquals(missed?.violations.map(({ eventId }) => eventId).toSorted(), [spoilt, renamed].toSorted());
  await pass(reconcilerOf(db, topology), broker);
  assertEquals([...broker.sent.keys()].toSorted(), [spoilt, renamed].toSorted());
});

Deno.test("createReconciler() re-sends what a consumer lacks, to that consumer alone, until it has it", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await openWire(broker);
  const { channel, publisher } = wired;
  const readQueues = async () =>
    // as if somebody consumed them
    (await readQueueDepths(channel, broker.topology)).map((queue) => ({ ...queue, consumers: 1 }));
  const wire = { publisher, readQueues };
  const { enrollmentsPaymentSucceeded: lacking, ordersPaymentEvents } = broker.topology.queues;
  const at = new Date(Date.now() - HOUR_MS);
  const id = await insertPublished(db.sql, "payment.succeeded", paymentSucceeded().event.data, { at });
  await process(db, ordersPaymentEvents.name);
  const reconciler = reconcilerOf(db, broker.topology);

  assertEquals(await pass(reconciler, wire), { [lacking.name]: 1 });
  await passAnHour(db);
  assertEquals(await pass(reconciler, wire), {}, "what waits in the queue must not be added to");
  const message = await channel.get(lacking.name, { noAck: true });
  assertEquals(message && message.properties.messageId, id);
  assertEquals(await pass(reconciler, wire), { [lacking.name]: 1 }, "an hour later that copy is lost too");
  await channel.purgeQueue(lacking.name);
  assertEquals(await pass(reconciler, wire), {}, "the second copy may be in its hands");
  await process(db, lacking.name);
  await passAnHour(db);
  assertEquals(await pass(reconciler, wire), {});
  assertEquals((await db.sql`select from lost_events`).count, 0);
});

Deno.test("createReconciler() sends nothing again to a consumer that is held, or was a moment ago: it has it in its hands", async () => {
  await using it = await stage();
  const { db, broker, reconciler, topology } = it;
  const ops = db.as("orderflow_ops");
  const { paymentsOrderCreated, paymentsRefundRequested } = topology.queues;
  await publish(db);
  for (const part of [paymentsOrderCreated.name, beforeCommit(paymentsOrderCreated.name)]) {
    await db.sql`delete from holds`;
    await holdPart(ops, { part, forSeconds: 600, because: null });
    assertEquals(await pass(reconciler, broker), {}, `${part} is held`);
    await resumePart(ops, part);
    assertEquals(await pass(reconciler, broker), {}, `${part} was held`);
  }
  await db.sql`update holds set until = now() - ${AFTER_MS} * interval '1 millisecond'`;
  await holdPart(ops, { part: paymentsRefundRequested.name, forSeconds: 600, because: null });
  assertEquals(await pass(reconciler, broker), { [paymentsOrderCreated.name]: 1 });
});

Deno.test("createReconciler() leaves alone what is young, put aside, not yet published, or nobody's", async () => {
  await using it = await stage();
  const { db, broker, consumer, reconciler } = it;
  const { data } = orderCreated().event;
  const aside = await publish(db);
  await publish(db, 0);
  await insertPublished(db.sql, "order.created", data, { at: new Date(0), published: false });
  const { orderId } = data;
  const notice = { orderId, notificationId: orderId, notificationType: "ORDER_COMPLETED" } as const;
  await insertPublished(db.sql, "notification.sent", notice, { at: new Date(Date.now() - HOUR_MS) });
  await insertDeadLetters(db.sql, [newLetter(consumer, { eventId: aside })]);
  assertEquals(await pass(reconciler, broker), {});

  const ops = db.as("orderflow_ops");
  await closeLetters(ops, await openLetters(ops), "DISCARDED", "not wanted");
  await passAnHour(db);
  assertEquals(await pass(reconciler, broker), { [consumer]: 1 });
  assert(!broker.sent.has(aside), "what was discarded");
});

Deno.test("createReconciler() takes nothing for lost that went out a moment ago, and all of it when it does not arrive", async () => {
  await using it = await stage();
  const { db, broker, consumer, reconciler, topology } = it;
  const ids = [await publish(db), await publish(db), await publish(db), await publish(db)];
  const [late = "", retried = "", redriven = "", later = ""] = ids;
  const [relay, ops] = [db.as("orderflow_relay"), db.as("orderflow_ops")];
  await db.sql`update outbox_events set published_at = null where id in ${db.sql([late, later])}`;
  await insertRetries(db.sql, [newRetry(consumer, { eventId: retried })]);
  await insertDeadLetters(db.sql, [newLetter(consumer, { eventId: redriven })]);
  assertEquals(await pass(reconciler, broker), {}, "the cursor passes all of them by");

  await markingPublished(relay, [late, later]);
  await markRetriesSent(relay, await claimDueRetries(relay, 1));
  await closeLetters(ops, await openLetters(ops), "REDRIVEN", "redriven");
  assertEquals(await pass(reconciler, broker), {}, "they are on their way");
  await passAnHour(db);
  assertEquals(await pass(reconcilerOf(db, topology), broker), { [consumer]: 4 });
  assertEquals(new Set(broker.sent.keys()), new Set(ids));
});

Deno.test("createReconciler() forgets nothing that a less patient relay has found lost", async () => {
  await using it = await stage();
  const { db, broker, consumer, topology } = it;
  const id = await publish(db, AFTER_MS / 2);
  const impatient = reconcilerOf(db, topology, 0);
  await eventually("it to be sent again", async () => consumer in await pass(impatient, broker));
  const patient = reconcilerOf(db, topology);
  assertEquals(await pass(patient, broker), {});
  await passAnHour(db);
  assertEquals(await pass(patient, broker), { [consumer]: 1 });
  assertEquals([...broker.sent], [[id, 2]]);
});

Deno.test("createReconciler() sends nothing to a queue that has messages, no consumer, or no answer", async () => {
  await using it = await stage();
  const { db, broker, reconciler, topology } = it;
  const queue = topology.queues.paymentsOrderCreated.name;
  await publish(db);
  const stands = [[{ queue, messages: 3, consumers: 1 }], [{ queue, messages: 0, consumers: 0 }], []];
  for (const queues of stands) {
    assertEquals(await pass(reconciler, { ...broker, readQueues: () => Promise.resolve(queues) }), {});
  }
  assertEquals(await pass(reconciler, broker), { [queue]: 1 }, "once it has emptied, it has lost that one");
});

Deno.test("createReconciler() finds one lost event behind 200,000 processed ones within two passes, and another consumer's backlog", async () => {
  await using it = await stage();
  const { db, broker, consumer, topology } = it;
  const { ordersLifecycleEvents, notificationsFinalEvents } = topology.queues;
  await publishMany(db, 200_000, { processedBy: consumer });
  await publishMany(db, 10_000, { type: "enrollment.granted", processedBy: ordersLifecycleEvents.name });
  const id = await publish(db, 2 * AFTER_MS);
  const queues = (await broker.readQueues()).map((queue) =>
    queue.queue === notificationsFinalEvents.name ? { ...queue, messages: 10_000, consumers: 0 } : queue
  );
  const wire = { ...broker, readQueues: () => Promise.resolve(queues) };
  const reconciler = reconcilerOf(db, topology);
  for (let passes = 0; passes < 2; passes++) await pass(reconciler, wire);
  assertEquals([...broker.sent], [[id, 1]]);
});

Deno.test("createReconciler() goes on after a restart where it was: with its cursors, and with what it has sent", async () => {
  await using it = await stage();
  const { db, broker, consumer, topology } = it;
  const [lost, behind] = [await publish(db), await publish(db)];
  await process(db, consumer, [behind]);
  assertEquals(await pass(reconcilerOf(db, topology), broker), { [consumer]: 1 });
  // An inbox that has forgotten shows that nobody looks at what is behind the cursor again.
  await db.sql`delete from processed_events`;
  assertEquals(await pass(reconcilerOf(db, topology), broker), {}, "it was sent a moment ago");
  await passAnHour(db);
  assertEquals(await pass(reconcilerOf(db, topology), broker), { [consumer]: 1 });
  assertEquals([...broker.sent], [[lost, 2]]);
});

Deno.test("createReconciler() brings 100,000 lost events back, a bounded part in each pass, each of them once", async () => {
  await using it = await stage();
  const { db, broker, consumer, reconciler } = it;
  await publishMany(db, 100_000);
  const sizes: number[] = [];
  const next = async () => sizes.push((await pass(reconciler, broker))[consumer] ?? 0);
  await next();
  await next(); // its consumer has them all in its hands, so that the queue is empty
  const [list] = await db.sql`select count(*)::int as count from lost_events`;
  assert(list?.count <= 30_000, `${list?.count} events are remembered`);
  for (let round = 0; round < 4; round++) {
    await process(db, consumer, [...broker.sent.keys()]);
    await next();
  }
  assertEquals(sizes, [25_000, 0, 25_000, 25_000, 25_000, 0]);
  assertEquals(new Set(broker.sent.values()), new Set([1]));
  assertEquals(broker.sent.size, 100_000);
});

Deno.test("createReconciler() tries again what the broker did not take", async () => {
  await using it = await stage();
  const { db, broker, consumer, reconciler } = it;
  const [taken, refused] = [await publish(db), await publish(db)];
  const publisher: Publisher = {
    publish: (messages) =>
      Promise.resolve({
        confirmed: messages.filter(({ id }) => id === taken).map(({ id }) => id),
        refused: [{ id: refused, error: "no room" }],
        unknown: [],
        offence: null,
      }),
  };
  assertEquals(await pass(reconciler, { ...broker, publisher }), { [consumer]: 1 });
  assertEquals(await pass(reconciler, broker), { [consumer]: 1 });
  assertEquals([...broker.sent.keys()], [refused]);
});

Deno.test("createReconciler() owes a new binding nothing of what was published before it", async () => {
  await using it = await stage();
  const { db, broker, topology, consumer } = it;
  const sql = db.as("orderflow_relay");
  await publish(db);
  const older = bindingsOf(topology).filter((binding) => binding.consumer !== consumer);
  await createReconciler({ sql, bindings: older, afterMs: AFTER_MS }).pass(broker);

  const reconciler = reconcilerOf(db, topology);
  assertEquals(await pass(reconciler, broker), {}, "the past is a replay's work");
  await publish(db, 0);
  await passAnHour(db);
  assertEquals(await pass(reconciler, broker), { [consumer]: 1 });
  await process(db, consumer, [...broker.sent.keys()]);
  const { checks } = await runAudit(db.as("orderflow_ops"), topology, { graceSeconds: 60 });
  const lost = checks.find(({ check }) => check === "event lost on its way to a consumer");
  assertEquals(lost?.violations, [], "nor does the audit miss it");
});

Deno.test("createReconciler() does not pass by what was published in a transaction that is still open", async () => {
  await using it = await stage();
  const { db, broker, topology } = it;
  const [early, second] = [await publish(db, 0), await publish(db, 0)];
  await db.sql`update outbox_events set published_at = null`;
  const reconciler = reconcilerOf(db, topology, 0);
  await pass(reconciler, broker);
  await db.as("orderflow_relay").begin(async (tx) => {
    await markingPublished(tx, [early]);
    await markingPublished(db.as("orderflow_relay"), [second]);
    for (let passes = 0; passes < 3; passes++) await pass(reconciler, broker);
  });
  await eventually("both to be sent again", async () => {
    await pass(reconciler, broker);
    return broker.sent.size === 2;
  });
  assert(broker.sent.has(early));
});

function keep(
  { db, topology }: Awaited<ReturnType<typeof stage>>,
  wire: () => ReconcileWire,
  intervalMs: number,
) {
  const stop = new AbortController();
  const bindings = bindingsOf(topology);
  const options = {
    sql: db.as("orderflow_relay"),
    bindings,
    afterMs: AFTER_MS,
    wire,
    intervalMs,
    log: testLog,
  };
  const running = keepReconciling(options, stop.signal);
  return async () => {
    stop.abort();
    await running;
  };
}

Deno.test("keepReconciling() does a pass of one relay at a time", async () => {
  await using it = await stage();
  const { db, broker } = it;
  await publish(db);
  const [begun, other] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isSent = false;
  const publisher: Publisher = {
    async publish(...args) {
      begun.resolve();
      await other.promise;
      isSent = true;
      return await broker.publisher.publish(...args);
    },
  };
  const endFirst = keep(it, () => ({ ...broker, publisher }), 5);
  await begun.promise;
  let looks = 0;
  const endSecond = keep(it, () => {
    if (++looks > 3) other.resolve(); // three times it has found the other one at work
    return broker;
  }, 5);
  await eventually("the first one to have sent", () => isSent);
  await Promise.all([endFirst(), endSecond()]);
  assertEquals([...broker.sent.values()], [1]);
});

Deno.test("keepReconciling() does not wait for the next round while it finds something lost", async () => {
  await using it = await stage();
  const { db, broker } = it;
  const [first, second] = [await publish(db), await publish(db)];
  const publisher: Publisher = {
    publish(messages, ...args) {
      const taken = messages.filter(({ id }) => id === first || broker.sent.has(first));
      return broker.publisher.publish(taken, ...args);
    },
  };
  const end = keep(it, () => ({ ...broker, publisher }), HOUR_MS);
  await eventually("the second one to be sent as well", () => broker.sent.has(second));
  await end();
});
