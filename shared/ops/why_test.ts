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

const START_RELAY = "Start a relay: deno task worker:outbox-relay.";
const START_CONSUMER = "Start a consumer: deno task worker:payments-order-created.";
const REPUBLISH = "Not to wait for that: POST /ops/outbox/e1/republish.";
const BROKER = ["The broker cannot be reached.", "Bring the broker of AMQP_URL back."] as const;
const FAILED = `${PAYMENTS} could not process its order.created: the provider timed out.`;
const SENT = `Its order.created was sent to ${PAYMENTS} 20.0 s ago`;

type Case = [
  is: [cause: string, sinceAgo: number, copy: OpenCopy, live: SystemFacts["live"]],
  sentence: string,
  action?: string,
];

const CASES: readonly Case[] = [
  [
    ["dead-letter", 5, letter("OPEN"), noRelay],
    `${PAYMENTS} gave up on its order.created, for "retries exhausted": it is dead letter l1.`,
    "Mend the cause, then send it again: POST /ops/dead-letters/l1/redrive.",
  ],
  [
    ["discarded", 5, letter("DISCARDED"), live()],
    `Dead letter l1, its order.created for ${PAYMENTS}, was discarded: nobody sends it again.`,
    "Should it go on after all: deno task replay --order=o1.",
  ],
  [["retry", 1, retried(ago(-4)), noRelay], `Retry 2 of 3 in 4.0 s: ${FAILED}`],
  [["retry", 1, retried(ago(-4), 0), live()], `The next attempt in 4.0 s: ${FAILED}`],
  [["retry", 1, retried(ago(0)), live()], `Retry 2 of 3 is due: ${FAILED}`],
  [
    ["relay-silent", 1, retried(ago(1)), noRelay],
    `No relay runs that could send the retry of its order.created to ${PAYMENTS}.`,
    START_RELAY,
  ],
  [
    ["relay-silent", 18, unpublished(), silentRelay],
    "The relay is to publish its order.created, and has been silent for 18.0 s.",
    START_RELAY,
  ],
  [
    ["relay-silent", 3, unpublished(), noRelay],
    "No relay runs that could publish its order.created.",
    START_RELAY,
  ],
  [["broker-away", 3, unpublished({ refusal: "no route" }), noBroker], ...BROKER],
  [
    ["refused", 3, unpublished({ refusal: "no route" }), live()],
    "The broker refuses its order.created: no route.",
    "Read what the broker has against it: GET /ops/outbox/e1.",
  ],
  [
    ["outbox", 3, unpublished(), live()],
    "Its order.created has waited in the outbox for 3.0 s, with 3 other events.",
  ],
  [
    [
      "outbox",
      180,
      unpublished({ occurredAt: ago(180) }),
      live({ outbox: { pending: 2, oldestSeconds: 180 } }),
    ],
    "Its order.created has waited in the outbox for 3 min, with 1 other event.",
    "Have the relay look now: POST /ops/outbox/tick.",
  ],
  [["broker-away", 2, copy(), noBroker], ...BROKER],
  [
    ["no-consumer", 2, copy(), queued(7, 0)],
    `Its order.created waits: no consumer on ${PAYMENTS}.`,
    START_CONSUMER,
  ],
  [
    [
      "consumer-silent",
      18,
      copy(),
      live({ processes: [liveProcess(), liveProcess({ ...consumer, ...isStale })] }),
    ],
    "payments-order-created is to process its order.created, and has been silent for 18.0 s.",
    START_CONSUMER,
  ],
  [
    ["queue", 2, copy(), queued(7, 1)],
    `Its order.created has waited in ${PAYMENTS} for 2.0 s, among 7 messages.`,
  ],
  [
    ["processing", 2, copy(), noRelay],
    `Its order.created was sent to ${PAYMENTS} 2.0 s ago, and is being processed.`,
  ],
  [["lost", 20, lost(), live()], `${SENT}, seems lost, and will be sent again in about 46.0 s.`, REPUBLISH],
  [
    ["lost", 20, missed, live()],
    `${SENT}, is lost, and will be sent again when the relay next compares.`,
    REPUBLISH,
  ],
  [
    ["lost", 20, uncompared, live()],
    `${SENT}, seems lost, and will be sent again when the relay next compares.`,
    REPUBLISH,
  ],
  [
    ["relay-silent", 18, lost(), silentRelay],
    `The relay is to send its order.created to ${PAYMENTS} again, and has been silent for 18.0 s.`,
    START_RELAY,
  ],
];

const order = { id: "o1", status: "PENDING", updatedAt: ago(30) } as const;
const system = (facts: SystemFacts["live"]): SystemFacts => ({
  live: facts,
  bindings,
  maxRetries: 3,
  holds: [],
});

Deno.test("whyOf() names each cause in one sentence, since when it holds, and the one action that helps", () => {
  for (const [[cause, sinceAgo, subject, facts], sentence, action = null] of CASES) {
    const why = whyOf(order, [subject], system(facts));
    assertEquals([why.cause, why.sentence, why.action], [cause, sentence, action]);
    assertEquals([why.orderId, why.status, why.since], ["o1", "PENDING", ago(sinceAgo)]);
    assertEquals(why.deadLetterId, cause === "dead-letter" || cause === "discarded" ? "l1" : undefined);
  }
});

Deno.test("whyOf() says when it is sent again, as far as it is known", () => {
  const retryAt = (subject: OpenCopy) => whyOf(order, [subject], system(live())).retryAt;
  assertEquals(
    [copy(), retried(ago(-4)), lost(), missed, uncompared].map(
      retryAt,
    ),
    [undefined, ago(-4), ago(-46), NOW, undefined],
  );
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
    return whyOf({ id: "o1", status: "PENDING", updatedAt: ago(3) }, [open], { ...system(noRelay), holds });
  };
  const { cause, since, sentence, action } = held("relay", unpublished());
  assertEquals([cause, since, sentence], [
    "held",
    ago(4),
    "Its order.created is held at relay, for 1 min more.",
  ]);
  assertEquals(action, "Let one event through: POST /ops/holds/relay/step; or all: DELETE /ops/holds/relay.");
  assertEquals(held("relay.before-mark", unpublished()).cause, "held");
  assertEquals(held(PAYMENTS, copy()).cause, "held");
  assertEquals(held(`${PAYMENTS}.before-commit`, copy()).cause, "held");
  assertEquals(held("relay", copy()).cause, "processing");
  assertEquals(held(PAYMENTS, letter("OPEN")).cause, "dead-letter");
});
