import { assertEquals } from "@std/assert";
import { bindingsOf } from "../broker/connection.ts";
import type { OrderStatus } from "../order_status.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import { liveProcess } from "../../workers/tools/testdata/statuses.ts";
import { type OpenCopy, type SystemFacts, whyOf } from "./why.ts";

const NOW = new Date("2026-11-22T12:00:00.000Z");
const ago = (seconds: number) => new Date(NOW.getTime() - seconds * 1000);
const bindings = bindingsOf(usualTopology());
const PAYMENTS = "payments.order-created.v1";

/** An `order.created` that was published two seconds ago, and that the payments have not processed. */
const copy = (more: Partial<OpenCopy> = {}): OpenCopy => ({
  eventId: "e1",
  type: "order.created",
  consumer: PAYMENTS,
  occurredAt: ago(3),
  publishedAt: ago(2),
  refusal: null,
  retries: null,
  error: null,
  failedAt: null,
  dueAt: null,
  letter: null,
  letterAt: null,
  sentAt: ago(2),
  isKnownLost: false,
  comparedUntil: ago(66),
  now: NOW,
  ...more,
});
const unpublished = (more: Partial<OpenCopy> = {}) => copy({ publishedAt: null, sentAt: null, ...more });
const retried = (dueAt: Date, retries = 2) =>
  copy({ retries, error: "the provider timed out", failedAt: ago(1), dueAt });
const letter = (state: string) =>
  copy({ letter: { id: "l1", reason: "retries exhausted", state }, letterAt: ago(5) });
const lost = (more: Partial<OpenCopy> = {}) => copy({ publishedAt: ago(20), sentAt: ago(20), ...more });
/** Found missing, and of a relay that has never compared. */
const [missed, uncompared] = [
  lost({ isKnownLost: true, comparedUntil: ago(3) }),
  lost({ comparedUntil: null }),
];

const consumer = { name: "payments-order-created" };
const isStale = { isStale: true, seenAt: ago(18).toISOString() };
const live = (more: Partial<SystemFacts["live"]> = {}): SystemFacts["live"] => ({
  queues: [{ queue: PAYMENTS, messages: 0, consumers: 1 }],
  processes: [liveProcess(), liveProcess(consumer)],
  outbox: { pending: 4, oldestSeconds: 3 },
  ...more,
});
const queued = (messages: number, consumers: number) =>
  live({ queues: [{ queue: PAYMENTS, messages, consumers }] });
const noRelay = live({ processes: [liveProcess(consumer)] });
const silentRelay = live({ processes: [liveProcess(isStale), liveProcess(consumer)] });
const noBroker = live({ queues: null });

const CREATED = "order.created";
const BROKER = "The broker cannot be reached. Bring the broker of AMQP_URL back.";
const FAILED = `${PAYMENTS} could not process its ${CREATED}: the provider timed out.`;
const REDRIVE = "Mend the cause, then send it again: POST /ops/dead-letters/l1/redrive.";
const REPLAY = "Should it go on after all: deno task replay --order=o1.";
const TICK = "Have the relay look now: POST /ops/outbox/tick.";
const START_RELAY = "Start a relay: deno task worker:outbox-relay.";
const START_CONSUMER = "Start a consumer: deno task worker:payments-order-created.";
const SENT = `Its ${CREATED} was sent to ${PAYMENTS} 20.0 s ago`;
const SILENT = "and has been silent for 18.0 s.";
const COMPARED = "and will be sent again when the relay next compares.";
const REPUBLISH = "Not to wait for that: POST /ops/outbox/e1/republish.";

/** The cause, since when, the sentence, and the action that helps: of which copy, in what system. */
const CASES: Readonly<Record<string, readonly [OpenCopy, SystemFacts["live"]]>> = {
  [`dead-letter 5 s: ${PAYMENTS} gave up on its ${CREATED}, for "retries exhausted": it is dead letter l1. ${REDRIVE}`]:
    [letter("OPEN"), noRelay],
  [`discarded 5 s: Dead letter l1, its ${CREATED} for ${PAYMENTS}, was discarded: nobody sends it again. ${REPLAY}`]:
    [letter("DISCARDED"), live()],
  [`retry 1 s: Retry 2 of 3 in 4.0 s: ${FAILED}`]: [retried(ago(-4)), noRelay],
  [`retry 1 s: The next attempt in 4.0 s: ${FAILED}`]: [retried(ago(-4), 0), live()],
  [`retry 1 s: Retry 2 of 3 is due: ${FAILED}`]: [retried(ago(0)), live()],
  [`relay-silent 1 s: No relay runs that could send the retry of its ${CREATED} to ${PAYMENTS}. ${START_RELAY}`]:
    [retried(ago(1)), noRelay],
  [`relay-silent 18 s: The relay is to publish its ${CREATED}, ${SILENT} ${START_RELAY}`]: [
    unpublished(),
    silentRelay,
  ],
  [`relay-silent 3 s: No relay runs that could publish its ${CREATED}. ${START_RELAY}`]: [
    unpublished(),
    noRelay,
  ],
  [`broker-away 3 s: ${BROKER}`]: [unpublished({ refusal: "no route" }), noBroker],
  [`refused 3 s: The broker refuses its ${CREATED}: no route. Read what the broker has against it: GET /ops/outbox/e1.`]:
    [unpublished({ refusal: "no route" }), live()],
  [`outbox 3 s: Its ${CREATED} has waited in the outbox for 3.0 s, with 3 other events.`]: [
    unpublished(),
    live(),
  ],
  [`outbox 180 s: Its ${CREATED} has waited in the outbox for 3 min, with 1 other event. ${TICK}`]: [
    unpublished({ occurredAt: ago(180) }),
    live({ outbox: { pending: 2, oldestSeconds: 180 } }),
  ],
  [`broker-away 2 s: ${BROKER}`]: [copy(), noBroker],
  [`no-consumer 2 s: Its ${CREATED} waits: no consumer on ${PAYMENTS}. ${START_CONSUMER}`]: [
    copy(),
    queued(7, 0),
  ],
  [`consumer-silent 18 s: payments-order-created is to process its ${CREATED}, ${SILENT} ${START_CONSUMER}`]:
    [copy(), live({ processes: [liveProcess(), liveProcess({ ...consumer, ...isStale })] })],
  [`queue 2 s: Its ${CREATED} has waited in ${PAYMENTS} for 2.0 s, among 7 messages.`]: [
    copy(),
    queued(7, 1),
  ],
  [`processing 2 s: Its ${CREATED} was sent to ${PAYMENTS} 2.0 s ago, and is being processed.`]: [
    copy(),
    noRelay,
  ],
  [`lost 20 s: ${SENT}, seems lost, and will be sent again in about 46.0 s. ${REPUBLISH}`]: [lost(), live()],
  [`lost 20 s: ${SENT}, is lost, ${COMPARED} ${REPUBLISH}`]: [missed, live()],
  [`lost 20 s: ${SENT}, seems lost, ${COMPARED} ${REPUBLISH}`]: [uncompared, live()],
  [`relay-silent 18 s: The relay is to send its ${CREATED} to ${PAYMENTS} again, ${SILENT} ${START_RELAY}`]: [
    lost(),
    silentRelay,
  ],
};

const order = { id: "o1", status: "PENDING", updatedAt: ago(30) } as const;
const system = (facts: SystemFacts["live"]): SystemFacts => ({
  live: facts,
  bindings,
  maxRetries: 3,
  holds: [],
});

Deno.test("whyOf() names each cause in one sentence, since when it holds, the one action that helps, and when it is sent again", () => {
  for (const [told, [subject, facts]] of Object.entries(CASES)) {
    const { sentence, action, cause, since, ...why } = whyOf(order, [subject], system(facts));
    const words = [`${cause} ${(NOW.getTime() - since.getTime()) / 1000} s:`, sentence, action ?? []].flat();
    assertEquals(words.join(" "), told);
    assertEquals([why.orderId, why.status, why.deadLetterId], ["o1", "PENDING", subject.letter?.id]);
  }
  const retryAt = (subject: OpenCopy) => whyOf(order, [subject], system(live())).retryAt;
  const known = [copy(), retried(ago(-4)), lost(), missed, uncompared].map(retryAt);
  assertEquals(known, [undefined, ago(-4), ago(-46), NOW, undefined]);
});

Deno.test("whyOf() looks at what moves the order on, else at the newest event, and at nothing once it is final", () => {
  const heardBy = (type: string, eventId: string, ...consumers: string[]) =>
    consumers.map((consumer) => copy({ type, eventId, consumer }));
  const [orders, enrollments] = ["orders.payment-events.v1", "enrollments.payment-succeeded.v1"] as const;
  const [lifecycle, notifications] = ["orders.lifecycle-events.v1", "notifications.final-events.v1"] as const;
  const created = copy();
  const paid = heardBy("payment.succeeded", "e2", orders, enrollments);
  const granted = heardBy("enrollment.granted", "e3", lifecycle, notifications);
  const nothing = "Nothing is on its way that would move it on from PAID.";
  const cases: [status: OrderStatus, copies: OpenCopy[], found: string][] = [
    ["PENDING", [created], PAYMENTS],
    ["PENDING", paid, orders],
    ["PENDING", [...paid, ...granted], orders],
    ["PAID", paid.slice(1), enrollments],
    ["PAID", granted, lifecycle],
    [
      "REFUND_IN_PROGRESS",
      heardBy("refund.requested", "e4", "payments.refund-requested.v1"),
      "payments.refund-requested.v1",
    ],
    ["PAID", [], nothing],
    ["COMPLETED", granted.slice(1), "Nothing: COMPLETED is final."],
  ];
  for (const [status, copies, found] of cases) {
    const { sentence } = whyOf({ ...order, status }, copies, system(live()));
    assertEquals(/[\w.-]+\.v1/.exec(sentence)?.[0] ?? sentence, found);
  }
});

Deno.test("whyOf() names a hold on the way of what is not set aside: the relay's before it is published, then its consumer's", () => {
  const held = (part: string, open: OpenCopy) => {
    const holds = [{ part, sinceAt: ago(4), untilAt: ago(-60) }];
    const { cause, since, sentence, action } = whyOf(order, [open], { ...system(noRelay), holds });
    return cause === "held" ? [since, `${sentence} ${action}`] : cause;
  };
  const at = (part: string) => [
    ago(4),
    `Its order.created is held at ${part}, for 1 min more. ` +
    `Let one event through: POST /ops/holds/${part}/step; or all: DELETE /ops/holds/${part}.`,
  ];
  for (const part of ["relay", "relay.before-mark"]) assertEquals(held(part, unpublished()), at(part));
  for (const part of [PAYMENTS, `${PAYMENTS}.before-commit`]) assertEquals(held(part, copy()), at(part));
  assertEquals([held("relay", copy()), held(PAYMENTS, letter("OPEN"))], ["processing", "dead-letter"]);
});
