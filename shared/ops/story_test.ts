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

const TURNED =
  "One transaction: the order from PAID to REFUND_IN_PROGRESS, the inbox row for enrollment.failed, and refund.requested in the outbox.";
const REFUNDED = "the refund, the inbox row for refund.requested, and refund.succeeded in the outbox.";
const NOT_NOTED = "The broker had handed it on before the relay noted its confirm.";

Deno.test("a story has a beat for each transaction, with time, place, what it wrote and changed, and where each copy is", () => {
  const refund = [
    ...placed,
    published(24, "order.created"),
    processed(30, "order.created", PAYMENTS),
    emitted(30, "payment.succeeded"),
    published(32, "payment.succeeded"),
    processed(34, "payment.succeeded", "orders.payment-events.v1"),
    entry(34, "payment.succeeded", { kind: "status", from: "PENDING", to: "PAID" }),
    processed(35, "payment.succeeded", "enrollments.payment-succeeded.v1"),
    emitted(35, "enrollment.failed"),
    published(38, "enrollment.failed"),
    processed(40, "enrollment.failed", LIFECYCLE),
    entry(40, "enrollment.failed", { kind: "status", from: "PAID", to: "REFUND_IN_PROGRESS" }),
    emitted(40, "refund.requested"),
    processed(50, "refund.requested", "payments.refund-requested.v1"),
    emitted(50, "refund.succeeded"),
  ];
  const beats = tellStory(refund);
  assertEquals(beats[2]?.ways, [[`queue:${PAYMENTS}`, `consumer:${PAYMENTS}`, "outbox"]]);
  assertEquals(whereIs(beats[2], "payment.succeeded"), ["outbox waits"]);
  assertEquals(whereIs(beats[4], "payment.succeeded"), [
    "consumer:orders.payment-events.v1 done",
    "queue:enrollments.payment-succeeded.v1 waits",
  ]);
  assertEquals(beats[8]?.ways[0]?.slice(0, 3), ["outbox", "relay", "exchange"]);
  assertEquals(
    storyText({ id: "o", status: "REFUND_IN_PROGRESS", amount: "49.90" }, beats),
    `\
Order o over 49.90: REFUND_IN_PROGRESS, placed at 2026-01-02T03:04:05.000Z

1   0 ms  API          An order was placed
                       One transaction: the order as PENDING and order.created in the outbox.
                       [orders: PENDING · outbox: 1 row, 1 unpublished]
2  24 ms  relay        The relay published order.created
                       The broker confirmed it, and put it into payments.order-created.
                       [outbox: 1 row]
3  30 ms  payments     Payments charged the card
                       One transaction: the charge, the inbox row for order.created, and payment.succeeded in the outbox.
                       [payments: SUCCEEDED · outbox: 2 rows, 1 unpublished · inbox: 1 row]
4  32 ms  relay        The relay published payment.succeeded
                       The broker confirmed it, and put it into orders.payment-events and enrollments.payment-succeeded.
                       [outbox: 2 rows]
5  34 ms  orders       The order is PAID
                       One transaction: the order from PENDING to PAID and the inbox row for payment.succeeded.
                       [orders: PAID · inbox: 2 rows]
6  35 ms  enrollments  Enrollments found no seat left
                       One transaction: the refusal, the inbox row for payment.succeeded, and enrollment.failed in the outbox.
                       [enrollments: FAILED: no seat · outbox: 3 rows, 1 unpublished · inbox: 3 rows]
7  38 ms  relay        The relay published enrollment.failed
                       The broker confirmed it, and put it into orders.lifecycle-events.
                       [outbox: 3 rows]
8  40 ms  orders       The order turns back: REFUND_IN_PROGRESS
                       ${TURNED}
                       [orders: REFUND_IN_PROGRESS · outbox: 4 rows, 1 unpublished · inbox: 4 rows]
9  50 ms  payments     Payments gave the money back
                       One transaction: ${REFUNDED} ${NOT_NOTED}
                       [payments: REFUND_SUCCEEDED · outbox: 5 rows, 2 unpublished · inbox: 5 rows]
`,
  );
  assertEquals(
    tellStory([...refund, published(52, "refund.requested")]).at(-1)?.title,
    "The relay noted that refund.requested is published",
  );
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

const [CREATED, PAID] = ["order.created", "payment.succeeded"] as const;
const at = (ms: number, part: Part) => entry(ms, CREATED, part);
const sent = published(2, CREATED);
const done = (ms: number) => processed(ms, CREATED, PAYMENTS);
const on = { consumer: PAYMENTS } as const;
const dead = { kind: "dead-letter", ...on, reason: "retries exhausted", deadLetterId: "d" } as const;

const redelivered = at(2000, { kind: "redelivered", ...on });
const repeat = (ms: number, duplicates = 1) => at(ms, { kind: "duplicate", ...on, duplicates });
const failed = (ms: number, retries: number) =>
  at(ms, { kind: "retry", ...on, retries, error: "no answer", dueAt: null });

/** What happened behind the placing of an order: the causes and titles of the beats, and what the last one says. */
const UNUSUAL: Readonly<Record<string, readonly [TimelineEntryJson[], told: string, says: string]>> = {
  "an event that waited in the outbox, and was refused": [
    [published(4100, CREATED, 2)],
    "late: The relay published it",
    "It had waited 4.1 s in the outbox: the relay or the broker was away, held, or had much to do. " +
    "The broker had refused it 2 times before.",
  ],
  "a delayed broker, or a consumer that was away": [
    [sent, done(3202)],
    "The relay published it; delayed: Payments processed it",
    "It had waited 3.2 s in its queue: the broker held it back, or its consumer was away, held or behind.",
  ],
  "a consumer that was away, while another one was quicker than the relay's note": [
    [
      processed(2, PAID, "orders.payment-events.v1"),
      published(4, PAID),
      processed(5004, PAID, "enrollments.payment-succeeded.v1"),
    ],
    "Orders processed it; The relay noted that it is published; delayed: Enrollments processed it",
    "It had waited 5.0 s in its queue",
  ],
  "a slow consumer": [
    [sent, at(4, { kind: "taken", ...on, heldMs: 2100 }), done(2104)],
    "The relay published it; slow: Payments took up it; slow: Payments processed it",
    "Its consumer had it for 2.1 s",
  ],
  "a worker that crashed before its commit, and came back": [
    [sent, redelivered, done(2004)],
    "The relay published it; crashed: Payments got it once more; crashed: Payments processed it",
    "The worker that had it before was gone before its commit, and left nothing.",
  ],
  "a worker that crashed after its commit": [
    [done(4), redelivered, repeat(2004)],
    "Payments processed it; crashed: Payments got it once more; crashed: Payments absorbed a repeat of it",
    "The worker that had it before had committed it, and was gone before its ack. The inbox has its row already",
  ],
  "a lost message that reconciliation brought back": [
    [sent, at(12_002, { kind: "resent", ...on }), done(12_010)],
    "The relay published it; lost: Payments never got it: the relay sent it again; lost: Payments processed it",
    "It was the copy that was sent again.",
  ],
  "a delayed retry": [
    [failed(9, 1), at(500, { kind: "retried", ...on }), done(504)],
    "Payments could not process it; retried: The relay sent it to Payments again; retried: Payments processed it",
    "It was attempt 2, after a delayed retry.",
  ],
  "a dead letter that was redriven": [
    [failed(900, 3), at(990, dead), at(60_000, { kind: "redriven", ...on, deadLetterId: "d" }), done(60_005)],
    "Payments could not process it: attempt 3; Payments gave up on it; " +
    "redriven: The dead letter of it was sent to Payments again; redriven: Payments processed it",
    "Its dead letter had been sent again.",
  ],
  "an event that an operator had sent again": [
    [done(4), at(5000, { kind: "replayed", ...on }), repeat(5006, 2)],
    "Payments processed it; again: it was sent to Payments again; again: Payments absorbed a repeat of it",
    "An operator had it sent again. The inbox has its row already, so nothing was done twice. It was repeat 2.",
  ],
  "a copy that nobody asked for": [
    [sent, done(4), repeat(6)],
    "The relay published it; Payments processed it; duplicate: Payments absorbed a repeat of it",
    "The broker delivered it twice.",
  ],
};

Deno.test("tellStory() names what went another way than usual, and tells one from the other", () => {
  for (const [name, [timeline, told, says]] of Object.entries(UNUSUAL)) {
    const beats = tellStory([...placed, ...timeline]).slice(1);
    const names = beats.map(({ cause, title }) => cause ? `${cause}: ${title}` : title).join("; ");
    assertEquals(names.replaceAll(timeline[0]?.eventType ?? "", "it"), told, name);
    assertStringIncludes(beats.at(-1)?.text ?? "", says);
  }
});

Deno.test("tellStory() has what is set aside in its table, and a discarded letter no more", () => {
  const discarded = { kind: "discarded", ...on, deadLetterId: "d" } as const;
  const beats = tellStory([...placed, sent, failed(900, 3), at(990, dead), at(2000, discarded)]).slice(2);
  assertStringIncludes(beats[0]?.text ?? "", "No answer. The transaction was rolled back");
  assertEquals(beats.map((beat) => tablesOf(beat)["set aside"]), ["1 retry", "1 dead letter", "nothing"]);
  assertEquals(beats.map(({ deadLetterId }) => deadLetterId), [undefined, "d", "d"]);
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
