import { assertEquals } from "@std/assert";
import {
  appendEvents,
  insertOrder,
  insertPublished,
  newLetter,
  newRetry,
  orderCreated,
} from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { insertIncidents } from "../sql/event_history.ts";
import { markSentAgain } from "../sql/lost_events.ts";
import { claimDueRetries, insertDeadLetters, insertRetries, markRetriesSent } from "../sql/set_aside.ts";
import { closeLetters, listDeadLetters } from "./dead_letters.ts";
import { buildTimeline, createTimelineReader, type Fact } from "./timeline.ts";

shareTestSchema();

const PAYMENTS = "payments.order-created.v1";
const ORDERS = ["orders.payment-events.v1", "orders.lifecycle-events.v1"];
const TRACE = "0af7651916cd43dd8448eb211c80319c";
const at = (ms: number) => new Date(1_700_000_000_000 + ms);

/** Each event with its id, when it happened, when it was published, and who processed it when. */
function factsOf(
  ...events: [id: string, type: string, emitted: number, published: number | null, [string, number][]][]
): Fact[] {
  return events.flatMap(([eventId, eventType, emitted, published, processed]) => {
    const traceparent = `00-${TRACE}-b7ad6b716920333${eventId}-01`;
    const about = { orderId: "o", eventId, eventType, traceparent, detail: null, dueAt: null };
    const fact = (kind: Fact["kind"], ms: number, consumer: string | null = null): Fact => {
      return { ...about, kind, at: at(ms), consumer, count: null, deadLetterId: null };
    };
    return [
      fact("emitted", emitted),
      ...published === null ? [] : [fact("published", published)],
      ...processed.map(([consumer, ms]) => fact("processed", ms, consumer)),
    ];
  });
}

Deno.test("buildTimeline() tells a refund's story in order, with the moves that the orders' consumers made", () => {
  const facts = factsOf(
    ["1", "order.created", 0, 2, [[PAYMENTS, 4]]],
    ["2", "payment.succeeded", 4, 6, [["enrollments", 7], ["orders.payment-events.v1", 8]]],
    ["3", "enrollment.failed", 7, 9, [["orders.lifecycle-events.v1", 12]]],
    ["4", "refund.requested", 12, null, []],
  );
  const timeline = buildTimeline({ createdAt: at(0) }, facts, ORDERS);
  assertEquals(timeline.map((e) => `${e.at.getTime() % 1000} ${e.kind} ${"to" in e ? e.to : e.eventType}`), [
    "0 status PENDING",
    "0 emitted order.created",
    "2 published order.created",
    "4 processed order.created",
    "4 emitted payment.succeeded",
    "6 published payment.succeeded",
    "7 processed payment.succeeded",
    "7 emitted enrollment.failed",
    "8 processed payment.succeeded",
    "8 status PAID",
    "9 published enrollment.failed",
    "12 processed enrollment.failed",
    "12 status REFUND_IN_PROGRESS",
    "12 emitted refund.requested",
  ]);
  assertEquals(timeline.map(({ traceId }) => traceId), timeline.map(() => TRACE));
});

Deno.test("a timeline keeps each time of what happened more than once: publication, repeat, retry, loss, letter", async () => {
  await using db = await testSchema();
  const { sql } = db;
  const [relay, ops, payments] = [
    db.as("orderflow_relay"),
    db.as("orderflow_ops"),
    db.as("orderflow_payments"),
  ];
  const orderId = await insertOrder(sql, "PENDING");
  const data = { ...orderCreated().event.data, orderId };
  const eventId = await insertPublished(sql, "order.created", data);
  const about = { eventId, aggregateId: orderId };
  const twice = async (work: (n: number) => Promise<unknown>) => {
    await work(1);
    await work(2);
  };
  await twice(async (position) => {
    await sql`insert into replays (id, filter, total, already_processed, created_at) values (gen_random_uuid(), '{}', 1, 0, now())`;
    await sql`
      insert into replay_events (replay_id, position, event_id, consumer, result, settled_at)
      select id, ${position}, ${eventId}, ${PAYMENTS}, 'SENT', clock_timestamp() from replays limit 1`;
  });
  await twice(async (retries) => {
    const error = `error ${retries}`;
    await insertRetries(payments, [newRetry(PAYMENTS, { ...about, retries, error })]);
    await insertIncidents(payments, PAYMENTS, [
      { eventId, kind: "retry", at: new Date(), count: retries, detail: error },
    ]);
    await markRetriesSent(relay, await claimDueRetries(relay, 1));
  });
  await twice(async () => {
    await insertDeadLetters(payments, [newLetter(PAYMENTS, about)]);
    const open = await listDeadLetters(ops, { limit: 1, state: "OPEN" });
    await closeLetters(ops, open.map(({ id }) => id), "REDRIVEN", "redriven");
  });
  await twice(async () => {
    await relay`insert into lost_events (event_id, consumer) values (${eventId}, ${PAYMENTS})`;
    await markSentAgain(relay, PAYMENTS, [eventId], new Date());
    await relay`delete from lost_events`;
  });
  await payments`insert into processed_events values (${eventId}, ${PAYMENTS}, now())`;
  await twice(() => insertIncidents(payments, PAYMENTS, [{ eventId, kind: "duplicate", at: new Date() }]));

  const [timeline = []] = (await createTimelineReader(ops, ORDERS)([
    { id: orderId, createdAt: new Date(0) },
  ])).values();
  assertEquals(
    timeline.map(({ kind, ...entry }) => {
      return "retries" in entry
        ? `${kind} ${entry.retries}: ${entry.error}`
        : "duplicates" in entry
        ? `${kind} ${entry.duplicates}`
        : kind;
    }).toSorted(), // some have the same millisecond
    [
      ...["dead-letter", "dead-letter", "duplicate 1", "duplicate 2", "emitted", "processed"],
      ...["published", "redriven", "redriven", "replayed", "replayed", "resent", "resent"],
      ...["retried", "retried", "retry 1: error 1", "retry 2: error 2", "status"],
    ],
  );
  const times = timeline.map((entry) => entry.at.getTime());
  assertEquals(times, times.toSorted((a, b) => a - b));
});

Deno.test("a timeline has an end, however often an event is repeated: its events' ways are in it, and the newest of the rest", async () => {
  await using db = await testSchema();
  const { event } = orderCreated();
  const id = event.data.orderId;
  await appendEvents(db.sql, [{ event, traceparent: null }]);
  await db.sql`
    insert into event_history (event_id, consumer, kind, at)
    select ${event.eventId}, ${PAYMENTS}, 'duplicate', now() + n * interval '1 second' from generate_series(1, 2500) as n`;
  const readTimelines = createTimelineReader(db.as("orderflow_ops"), ORDERS);
  const timeline = (await readTimelines([{ id, createdAt: at(0) }])).get(id) ?? [];
  assertEquals(timeline.slice(0, 2).map(({ kind }) => kind), ["status", "emitted"]);
  const repeats = timeline.flatMap((entry) => entry.kind === "duplicate" ? [entry.duplicates] : []);
  assertEquals([repeats.length, repeats.at(0), repeats.at(-1)], [999, 1502, 2500]);
});
