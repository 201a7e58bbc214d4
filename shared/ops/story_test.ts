import { assertEquals, assertStringIncludes } from "@std/assert";
import type { TimelineEntryJson } from "./answers.ts";
import { bindingsOf } from "../broker/connection.ts";
import { QUEUES } from "../topology.ts";
import { type Beat, queuesOf, storyText, tellStory as tellWith } from "./story.ts";

const START = Date.parse("2026-01-02T03:04:05.000Z");
const PAYMENTS = "payments.order-created.v1";
const LIFECYCLE = "orders.lifecycle-events.v1";

const queues = queuesOf(bindingsOf({ exchange: "e", queues: QUEUES }));
const tellStory = (timeline: TimelineEntryJson[]) => tellWith(timeline, queues);

type Part = TimelineEntryJson extends infer E
  ? E extends { at: string } ? Omit<E, "at" | "eventId" | "eventType" | "traceId"> : never
  : never;

/** An entry, `ms` after the order, about the event of a type; its type is its id. */
function entry(ms: number, type: string | null, part: Part): TimelineEntryJson {
  const at = new Date(START + ms).toISOString();
  return { at, eventId: type, eventType: type, traceId: null, ...part } as TimelineEntryJson;
}

const placed = [entry(0, null, { kind: "status", from: null, to: "PENDING" }), emitted(0, "order.created")];

function emitted(ms: number, type: string): TimelineEntryJson {
  return entry(ms, type, { kind: "emitted" });
}

function published(ms: number, type: string, retryCount = 0): TimelineEntryJson {
  return entry(ms, type, { kind: "published", retryCount });
}

function processed(ms: number, type: string, consumer: string): TimelineEntryJson {
  return entry(ms, type, { kind: "processed", consumer });
}

const titles = (beats: readonly Beat[]) => beats.map(({ title }) => title);
const tablesOf = (beat: Beat | undefined) =>
  Object.fromEntries(beat?.tables.map(({ table, holds }) => [table, holds]) ?? []);
const whereIs = (beat: Beat | undefined, type: string) =>
  beat?.messages.filter((message) => message.type === type).map(({ place, state }) => `${place} ${state}`);

Deno.test("tellStory() makes one beat of a transaction, with what it wrote, and follows every copy of a message", () => {
  const beats = tellStory([
    ...placed,
    published(2, "order.created"),
    processed(4, "order.created", PAYMENTS),
    emitted(4, "payment.succeeded"),
    published(6, "payment.succeeded"),
    processed(8, "payment.succeeded", "orders.payment-events.v1"),
    entry(8, "payment.succeeded", { kind: "status", from: "PENDING", to: "PAID" }),
    processed(9, "payment.succeeded", "enrollments.payment-succeeded.v1"),
    emitted(9, "enrollment.failed"),
  ]);
  assertEquals(titles(beats), [
    "An order was placed",
    "The relay published order.created",
    "Payments charged the card",
    "The relay published payment.succeeded",
    "The order is PAID",
    "Enrollments found no seat left",
  ]);
  assertEquals(
    beats[2]?.text,
    "One transaction: the charge, the inbox row for order.created, and payment.succeeded in the outbox.",
  );
  assertEquals(beats[2]?.ways, [[`queue:${PAYMENTS}`, `consumer:${PAYMENTS}`, "outbox"]]);
  assertEquals(whereIs(beats[2], "payment.succeeded"), ["outbox waits"]);
  assertEquals(whereIs(beats[4], "payment.succeeded"), [
    "consumer:orders.payment-events.v1 done",
    "queue:enrollments.payment-succeeded.v1 waits",
  ]);
  assertEquals(tablesOf(beats.at(-1)), {
    orders: "PAID",
    payments: "SUCCEEDED",
    enrollments: "FAILED: no seat",
    notifications: "no row",
    outbox: "3 rows, 1 unpublished",
    inbox: "3 rows",
    "set aside": "nothing",
  });
  assertEquals(beats.at(-1)?.tables.filter(({ isChanged }) => isChanged).map(({ table }) => table), [
    "enrollments",
    "outbox",
    "inbox",
  ]);
});

Deno.test("tellStory() tells apart who told what, where two modules committed in one millisecond", () => {
  const beats = tellStory([
    ...placed,
    processed(4, "enrollment.granted", "notifications.final-events.v1"),
    processed(4, "enrollment.granted", LIFECYCLE),
    entry(4, "enrollment.granted", { kind: "status", from: "PAID", to: "COMPLETED" }),
    emitted(4, "notification.sent"),
  ]);
  assertEquals(titles(beats).slice(1), [
    "Notifications told the buyer",
    "The order is COMPLETED: paid, and the seat is granted",
  ]);
});

Deno.test("tellStory() says so where a consumer was quicker than the note of the broker's confirm", () => {
  const beats = tellStory([
    ...placed,
    processed(3, "order.created", PAYMENTS),
    published(5, "order.created"),
  ]);
  assertStringIncludes(beats[1]?.text ?? "", "before the relay noted its confirm");
  assertEquals(beats[1]?.ways[0]?.slice(0, 3), ["outbox", "relay", "exchange"]);
  assertEquals(beats[2]?.title, "The relay noted that order.created is published");
});

Deno.test("tellStory() names a retry, a dead letter and what a redrive made of it", () => {
  const retry = { kind: "retry", consumer: PAYMENTS, retries: 3, error: "no answer", dueAt: null } as const;
  const dead = {
    kind: "dead-letter",
    consumer: PAYMENTS,
    reason: "retries exhausted",
    deadLetterId: "d",
  } as const;
  const beats = tellStory([
    ...placed,
    published(2, "order.created"),
    entry(900, "order.created", retry),
    entry(990, "order.created", dead),
    processed(60_000, "order.created", PAYMENTS),
  ]);
  assertEquals(titles(beats).slice(2), [
    "Payments could not process order.created: attempt 3",
    "Payments gave up on order.created",
    "Payments processed order.created",
  ]);
  assertStringIncludes(beats[2]?.text ?? "", "No answer. The transaction was rolled back");
  assertEquals(tablesOf(beats[2])["set aside"], "1 retry");
  assertEquals([beats[3]?.deadLetterId, tablesOf(beats[3])["set aside"]], ["d", "1 dead letter"]);
  assertStringIncludes(beats[4]?.text ?? "", "Its dead letter had been sent again.");
  assertEquals(whereIs(beats[4], "order.created"), [`consumer:${PAYMENTS} done`]);
});

Deno.test("tellStory() tells a repeat that an operator asked for from one of the broker's own", () => {
  const again = { kind: "duplicate", consumer: PAYMENTS, duplicates: 2 } as const;
  const story = [...placed, published(2, "order.created"), processed(4, "order.created", PAYMENTS)];
  const own = tellStory([...story, entry(6, "order.created", again)]);
  assertEquals(own.at(-1)?.title, "Payments absorbed a repeat of order.created");
  assertStringIncludes(own.at(-1)?.text ?? "", "The broker delivered it again");
  assertStringIncludes(own.at(-1)?.text ?? "", "the last of 2 repeats");
  const asked = tellStory([...story, published(5000, "order.created"), entry(5006, "order.created", again)]);
  assertEquals(asked.at(-2)?.title, "The relay published order.created again");
  assertStringIncludes(asked.at(-1)?.text ?? "", "It was published again.");
});

Deno.test("tellStory() says where time went: in the outbox, or behind it, and what the broker had refused", () => {
  const beats = tellStory([
    ...placed,
    published(4100, "order.created", 2),
    processed(7300, "order.created", PAYMENTS),
  ]);
  assertStringIncludes(beats[1]?.text ?? "", "It had waited 4.1 s in the outbox");
  assertStringIncludes(beats[1]?.text ?? "", "refused it 2 times before");
  assertStringIncludes(beats[2]?.text ?? "", "3.2 s after it was published");
});

Deno.test("tellStory() follows the queues under the names that they are given, and knows modules that came later", () => {
  const renamed = queues.map((queue) => ({ ...queue, name: `blue.${queue.name}` }));
  const beats = tellWith([...placed, processed(3, "order.created", `blue.${PAYMENTS}`)], renamed);
  assertEquals(beats[1]?.where, "payments");
  assertEquals(beats[1]?.ways[0]?.at(-1), `consumer:blue.${PAYMENTS}`);

  const name = "certificates.granted.v1";
  const more = [...queues, { name, label: "certificates.granted", bindings: ["enrollment.granted"] }];
  const last = tellWith([
    ...placed,
    emitted(1, "enrollment.granted"),
    processed(2, "enrollment.granted", name),
    emitted(2, "certificate.issued"),
  ], more).at(-1);
  assertEquals(last?.title, "Certificates processed enrollment.granted, and told certificate.issued");
  assertEquals(tablesOf(last)["certificates"], "ISSUED");
});

Deno.test("tellStory() tells of a message that nobody can read, and of an order without any event", () => {
  const dead = { kind: "dead-letter", consumer: PAYMENTS, reason: "not JSON", deadLetterId: "d" } as const;
  const beats = tellStory([...placed, entry(3, null, dead)]);
  assertEquals(beats.at(-1)?.title, "Payments gave up on a message that it could not read");
  assertEquals(titles(tellStory(placed.slice(0, 1))), ["An order was placed"]);
  assertEquals(tellStory([]), []);
});

Deno.test("storyText() prints each beat with its time, place, sentence, and what it changed", () => {
  const beats = tellStory([...placed, published(24, "order.created")]);
  assertEquals(
    storyText({ id: "o", status: "PENDING", amount: "49.90" }, beats),
    `\
Order o over 49.90: PENDING, placed at 2026-01-02T03:04:05.000Z

1   0 ms  API    An order was placed
                 One transaction: the order as PENDING and order.created in the outbox.
                 [orders: PENDING · outbox: 1 row, 1 unpublished]
2  24 ms  relay  The relay published order.created
                 The broker confirmed it, and put it into payments.order-created.
                 [outbox: 1 row]
`,
  );
});
