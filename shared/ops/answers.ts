// The shapes of the API's answers, in zod/mini, which costs the browser a fraction of zod. Formats and ranges are
// added where the API is described.

import * as z from "zod/mini";
import { ORDER_STATUSES } from "../order_status.ts";

const described = (description: string, more: object = {}) => z.meta({ description, ...more });
const fieldOf = <S extends z.ZodMiniType>(schema: S, more?: object) => (description: string) =>
  schema.check(described(description, more));
const orNull = z.nullable(z.string());

/** A text, which a description explains to whoever reads the API's reference; and so below. */
export const text = fieldOf(z.string());
const textOrNull = fieldOf(orNull);
/** A uuid in lower case. */
export const id = fieldOf(z.string(), { format: "uuid" });
const idOrNull = fieldOf(orNull, { format: "uuid" });
/** A time: ISO 8601, in UTC. */
export const time = fieldOf(z.string(), { format: "date-time" });
export const timeOrNull = fieldOf(orNull, { format: "date-time" });
/** A whole number, 0 or more. */
export const count = fieldOf(z.number(), { type: "integer", minimum: 0 });
const countOrNull = fieldOf(z.nullable(z.number()), { minimum: 0 });
const flag = fieldOf(z.boolean());

/** As the tables have an answer's object: each of its times, which are called `at` or `…At`, is a `Date`. */
export type Row<T> = T extends unknown
  ? { readonly [K in keyof T]: K extends "at" | `${string}At` ? Date | Exclude<T[K], string> : T[K] }
  : never;

export const nextCursor = textOrNull("The `cursor` of the page behind this one; null on the last one.");

const fieldErrorSchema = z.object({
  field: text("The field's name; nested ones with dots."),
  in: z.enum(["body", "query", "path"]).check(described("Which part of the request it is in.")),
  pointer: z.optional(
    text(
      "Where it stands in the body, as a JSON pointer fragment (RFC 6901, section 6); for the body alone.",
    ),
  ),
  detail: text("What is wrong with it, for people, such as `must be greater than zero`."),
}).check(z.meta({ ref: "FieldError" }));
export type FieldError = z.infer<typeof fieldErrorSchema>;

/** Problem details (RFC 9457). */
export const problemSchema = z.object({
  type: text("`about:blank`: the status code says which kind of problem it is."),
  title: text("The kind of problem in a few words, such as `Conflict`."),
  status: z.number().check(described("The status code.", { type: "integer" })),
  detail: text("What is wrong, and what to do about it."),
  instance: text("The path that was asked for."),
  errors: z.optional(z.array(fieldErrorSchema).check(described("Every field that is at fault."))),
}).check(z.meta({ ref: "Problem" }));
export type Problem = z.infer<typeof problemSchema>;

const status = z.enum(ORDER_STATUSES);

/** An order as the public routes show it. */
export const orderSchema = z.object({
  id: id("The order's id, a version 7 uuid: the newest order has the highest."),
  userId: id("Who bought."),
  courseId: id("What was bought."),
  amount: text("A decimal string of two places."),
  status: status.check(described("Where it stands.")),
  createdAt: time("When it was created."),
  updatedAt: time("When its status last changed."),
}).check(z.meta({ ref: "Order" }));
export type OrderJson = z.infer<typeof orderSchema>;

export const opsOrderSchema = z.extend(orderSchema, {
  correlationId: text("The correlation id of all its events."),
}).check(z.meta({ ref: "OpsOrder" }));

export const ordersPageSchema = z.object({ orders: z.array(opsOrderSchema), nextCursor });
export type OrdersPage = z.infer<typeof ordersPageSchema>;

const about = {
  at: time("When."),
  eventId: idOrNull(
    "The event that it is about; null for the creation of the order, or where none could be read.",
  ),
  eventType: textOrNull("That event's type."),
  traceId: textOrNull("The trace that it belongs to, 32 hex digits; null where there is none."),
};
const entry = <Kind extends string, More extends z.core.$ZodLooseShape>(kind: Kind, more: More) =>
  z.object({ kind: z.literal(kind), ...about, ...more });
const consumer = text("Which consumer, by the name of its queue.");
const deadLetterId = id("The dead letter's id.");

export const timelineEntrySchema = z.discriminatedUnion("kind", [
  entry("emitted", {}),
  entry("published", { retryCount: count("How often the broker refused it before.") }),
  entry("processed", { consumer }),
  entry("duplicate", { consumer, duplicates: count("How often it came again and was absorbed.") }),
  entry("retry", {
    consumer,
    retries: count("Retries so far."),
    error: text("What the last attempt met with."),
    dueAt: timeOrNull("When the consumer gets it again; null when it has been sent."),
  }),
  entry("retried", { consumer }),
  entry("resent", { consumer }),
  entry("replayed", { consumer }),
  entry("redelivered", { consumer }),
  entry("taken", { consumer, heldMs: count("How long its consumer had it then, in milliseconds.") }),
  entry("status", { from: z.nullable(status), to: status }),
  entry("dead-letter", { consumer, reason: text("Why, in a few fixed words."), deadLetterId }),
  entry("redriven", { consumer, deadLetterId }),
  entry("discarded", { consumer, deadLetterId }),
]).check(z.meta({
  ref: "TimelineEntry",
  description:
    "One thing that happened to an order: an event was appended to the outbox (`emitted`), confirmed by " +
    "the broker (`published`), processed, absorbed as a repeat (`duplicate`), put off (`retry`) or given up on " +
    "(`dead-letter`) by a consumer, or the order moved (`status`). It was sent to one consumer again: after a delay " +
    "(`retried`), because the broker had lost it (`resent`), or by an operator (`replayed`; as a dead letter, `redriven`, unless " +
    "it was `discarded`). " +
    "A consumer had it for more than a second (`taken`), or got it although it had been delivered before (`redelivered`).",
}));
export type TimelineEntryJson = z.infer<typeof timelineEntrySchema>;

/** An order and what happened to it, oldest entry first. */
export const orderStorySchema = z.object({ order: opsOrderSchema, timeline: z.array(timelineEntrySchema) });
export type OrderStoryJson = z.infer<typeof orderStorySchema>;

/** A part of the machine; queues and consumers by the queue's name. */
const placeSchema = z.union([
  z.literal(["api", "outbox", "relay", "exchange"]),
  z.templateLiteral(["queue:", z.string()]),
  z.templateLiteral(["consumer:", z.string()]),
]);
export type Place = z.infer<typeof placeSchema>;

/** Where a message of the order is: in the outbox, or one copy of it for each consumer. */
const whereaboutsSchema = z.object({
  id: text("The event's id, or that of its dead letter where the message had none."),
  type: text("Its type."),
  place: placeSchema,
  state: z.enum(["waits", "done", "retry", "dead"]),
});
export type Whereabouts = z.infer<typeof whereaboutsSchema>;

const tableStateSchema = z.object({
  table: text("Its name."),
  holds: text("What it holds for the order."),
  isChanged: flag("Whether this beat has changed it."),
});

const BEAT_CAUSES = [
  "late",
  "again",
  "delayed",
  "slow",
  "crashed",
  "lost",
  "retried",
  "redriven",
  "duplicate",
] as const;
/** What made something go another way than usual. */
export type BeatCause = (typeof BEAT_CAUSES)[number];

const BEAT_KINDS = [
  "placed",
  "appended",
  "published",
  "taken",
  "processed",
  "absorbed",
  "failed",
  "sent-again",
  "redelivered",
  "dead",
  "discarded",
] as const;

const beatSchema = z.object({
  kind: z.enum(BEAT_KINDS).check(described("What happened.")),
  cause: z.optional(z.enum(BEAT_CAUSES)).check(described(
    "Why it went another way than usual: the event waited in the outbox (`late`), or in its queue (`delayed`); its " +
      "consumer was `slow`, or `crashed`; the broker `lost` it, or delivered a `duplicate`; it came `again`, was " +
      "`retried` or `redriven`.",
  )),
  at: z.number().check(described("When, in milliseconds since 1970.", { type: "integer" })),
  place: placeSchema.check(described("Where: queues and consumers by the queue's name.")),
  where: text("The same in a word: `API`, `relay`, `payments`."),
  eventId: idOrNull("The event that it is about; null where the message could not be read."),
  eventType: textOrNull("That event's type."),
  title: text("What happened, in a few words."),
  text: text("The same in full."),
  ways: z.array(z.array(placeSchema)).check(described("What moved: each way from place to place.")),
  messages: z.array(whereaboutsSchema).check(described("Where each message of the order is by then.")),
  tables: z.array(tableStateSchema).check(described("What each table holds for the order by then.")),
  deadLetterId: z.optional(id("The dead letter that was written, or sent again.")),
}).check(z.meta({ ref: "Beat" }));
/** One transaction, or one thing that the broker, the relay or an operator did. */
export type Beat = z.infer<typeof beatSchema>;

/** The same with the story; the beats are there where they were asked for. */
export const toldStorySchema = z.extend(orderStorySchema, { beats: z.optional(z.array(beatSchema)) });
export const publicStorySchema = z.extend(toldStorySchema, { order: orderSchema });

/** What an order can wait for; each is one cause, the most specific that there is. */
const WHY_CAUSES = [
  "final",
  "dead-letter",
  "discarded",
  "retry",
  "held",
  "relay-silent",
  "broker-away",
  "refused",
  "outbox",
  "no-consumer",
  "consumer-silent",
  "queue",
  "processing",
  "lost",
  "unknown",
] as const;

export const whySchema = z.object({
  orderId: id("The order's id."),
  status: status.check(described("Where it stands.")),
  cause: z.enum(WHY_CAUSES).check(described("What it waits for; `final` where it waits for nothing.")),
  since: time("Since when; where it is final, when it became so."),
  sentence: text("The same in one sentence, for people."),
  action: textOrNull("The one action that helps; null where it goes on by itself."),
  deadLetterId: z.optional(id("The dead letter that it waits for.")),
  retryAt: z.optional(time("When its event is sent again.")),
}).check(z.meta({ ref: "Why" }));
export type WhyJson = z.infer<typeof whySchema>;

const scenarioSchema = z.object({
  name: text("The last part of its path."),
  path: text("Its whole path."),
  group: text("What it belongs to, for people."),
  expect: text("What to expect of it."),
});
export type ScenarioInfo = z.infer<typeof scenarioSchema>;

export const scenariosSchema = z.object({ scenarios: z.array(scenarioSchema) });

export const outboxEventSchema = z.object({
  id: id("The event's id."),
  type: text("Its type, which is its routing key."),
  orderId: id("The order that it is about."),
  correlationId: text("Its correlation id."),
  traceparent: textOrNull("W3C trace context; null where there is none."),
  payload: z.unknown().check(described("The whole envelope, data included, as it is sent.")),
  occurredAt: time("When it happened."),
  publishedAt: timeOrNull("When the broker had confirmed it; null while it waits."),
  retryCount: count("How often the broker has refused it."),
  lastError: textOrNull("What the last refusal said; null where there was none."),
  nextAttemptAt: timeOrNull("When it is tried again; null where it waits for nothing."),
}).check(z.meta({ ref: "OutboxEvent" }));
export type OutboxEventJson = z.infer<typeof outboxEventSchema>;

export const outboxPageSchema = z.object({ events: z.array(outboxEventSchema), nextCursor });

export const republishedSchema = z.extend(outboxEventSchema, {
  alreadyProcessedBy: z.array(z.string())
    .check(described("The consumers that have processed it, and will absorb the repeat.")),
}).check(z.meta({ ref: "RepublishedEvent" }));

export const processedEventSchema = z.object({
  eventId: id("The event's id."),
  consumer: text("Who has processed it."),
  processedAt: time("When."),
  duplicates: count("How often it came again and was absorbed."),
  lastDuplicateAt: timeOrNull("When it last did; null where it never has."),
}).check(z.meta({ ref: "ProcessedEvent" }));
export type ProcessedEventJson = z.infer<typeof processedEventSchema>;

export const inboxPageSchema = z.object({ processedEvents: z.array(processedEventSchema), nextCursor });
export type InboxPage = z.infer<typeof inboxPageSchema>;

export const deadLetterSchema = z.object({
  id: id("The letter's own id."),
  consumer: text("Who gave up on it."),
  eventId: idOrNull("The event's id; null where the body is no valid event, and so for the next three."),
  eventType: textOrNull("The event's type."),
  orderId: idOrNull("The order that it is about."),
  correlationId: textOrNull("Its correlation id."),
  body: text("The body as text: its first 4 KiB in a list, its first MiB in an answer about one letter."),
  bodyBytes: count("How many bytes the message had. One that was too large keeps only its beginning."),
  reason: text("Why, in a few fixed words."),
  detail: text("Why, in full."),
  attempts: count("Attempts so far."),
  state: z.enum(["OPEN", "REDRIVEN", "DISCARDED"]).check(described("`OPEN` until somebody deals with it.")),
  firstFailedAt: time("When it was first given up on."),
  lastFailedAt: time("When it was last given up on."),
  resolvedAt: timeOrNull("When it was dealt with; null while it is open."),
  resolution: textOrNull("How it was dealt with; null while it is open."),
  editedBody: textOrNull(
    "The body that was sent in the place of the original; null where that was not edited.",
  ),
}).check(z.meta({ ref: "DeadLetter" }));
export type DeadLetterJson = z.infer<typeof deadLetterSchema>;

export const deadLettersPageSchema = z.object({ deadLetters: z.array(deadLetterSchema), nextCursor });
export type DeadLettersPage = z.infer<typeof deadLettersPageSchema>;

const letterGroupSchema = z.object({
  consumer: text("Who gave up on them."),
  reason: text("Why, in a few fixed words."),
  pattern: text("Why, in full, without what differs: ids, numbers, quoted values."),
  count: count("How many there are."),
  failedAgain: count("How many of them had been redriven before."),
  firstFailedAt: time("When the first of them was first given up on."),
  lastFailedAt: time("When one of them was last given up on."),
  newestId: id("The newest letter, as an example."),
}).check(z.meta({ ref: "DeadLetterGroup" }));
export type LetterGroupJson = z.infer<typeof letterGroupSchema>;
export const letterGroupsSchema = z.object({ groups: z.array(letterGroupSchema) });

export const redrivenSchema = z.object({
  setId: id("The frozen set that these letters were; what became of them is at `/ops/replays/:id`."),
  redriven: count("Letters that are on their way again."),
  alreadyProcessed: count("Letters that their consumer had processed meanwhile: closed, nothing sent."),
  refused: z.array(
    z.object({ id: id("The letter's id."), error: text("Why, such as what the broker said.") }),
  )
    .check(described("Letters that were not sent, or that the broker did not take; they stay open.")),
  gone: count("Letters of the set that somebody else had closed."),
  left: count(
    "Letters of the set that are still to be dealt with: ask again, or the relay goes on with them.",
  ),
}).check(z.meta({ ref: "Redriven" }));
export type RedrivenJson = z.infer<typeof redrivenSchema>;

export const discardedSchema = z.object({
  setId: id("The frozen set that these letters were."),
  discarded: count("Letters that were closed."),
  gone: count("Letters of the set that somebody else had closed."),
});

export const replaySchema = z.object({
  id: id("The set's id."),
  action: z.enum(["REPLAY", "REPUBLISH", "REDRIVE", "DISCARD"]).check(described(
    "`REPLAY` sends events to their consumers, `REPUBLISH` to the exchange; `REDRIVE` sends dead letters, and becomes " +
      "`DISCARD` where they are discarded.",
  )),
  filter: z.record(z.string(), z.string()).check(described("What was asked for, by field.")),
  state: z.enum(["PREPARED", "RUNNING", "DONE", "CANCELLED"])
    .check(described("`PREPARED` until it is started, then `RUNNING` until it has ended.")),
  total: count("Messages in the set."),
  alreadyProcessed: count("How many of them their consumer had processed when the set was written down."),
  sent: count("How many have been dealt with."),
  skipped: count("How many of those were skipped: pruned or closed meanwhile, too old, or refused."),
  ratePerSecond: countOrNull("Messages per second at most; null until it is started."),
  lastError: textOrNull("What the last failed try met with."),
  reason: textOrNull("Why it was cancelled."),
  createdAt: time("When the set was written down."),
  expiresAt: time("Until when it can be started."),
  startedAt: timeOrNull("When it was started."),
  finishedAt: timeOrNull("When it ended."),
}).check(z.meta({ ref: "Replay" }));
export type ReplayJson = z.infer<typeof replaySchema>;

export const replaysPageSchema = z.object({ replays: z.array(replaySchema), nextCursor });

/** What a message of a set came to. */
export const BECAME = [
  "unsent",
  "skipped",
  "discarded",
  "waiting",
  "absorbed",
  "processed",
  "retrying",
  "failed again",
] as const;

const replayEventSchema = z.object({
  position: count("Its place in the set, from 1 on."),
  eventId: idOrNull("The event's id; null where a dead letter is no event."),
  deadLetterId: idOrNull("The dead letter's id; null where it is an event of the outbox."),
  consumer: text("Who gets it."),
  type: textOrNull("The event's type; null where it is unknown or pruned, and so for the next three."),
  orderId: idOrNull("The order that it is about."),
  correlationId: textOrNull("Its correlation id."),
  occurredAt: timeOrNull("When it happened; of a dead letter, when it was last given up on."),
  processed: flag("Whether the consumer has processed it, and will absorb the repeat."),
  became: z.enum(BECAME).check(described(
    "What it came to: `unsent` so far; `skipped`, see `error`; sent, and `waiting` for its consumer, which has " +
      "`absorbed` it as a repeat, `processed` it for the first time, is `retrying`, or has `failed again`.",
  )),
  error: textOrNull("Why it was skipped; of a dead letter that was not, why it was given up on."),
}).check(z.meta({ ref: "ReplayEvent" }));
export type ReplayEventJson = z.infer<typeof replayEventSchema>;

export const replayEventsPageSchema = z.object({ events: z.array(replayEventSchema), nextCursor });
export type ReplayEventsPage = z.infer<typeof replayEventsPageSchema>;

/** To whom a set goes, and what it came to there: how many messages, by what became of them. */
export const replayOutcomeSchema = z.object({
  consumers: z.array(z.object({
    consumer: text("Who gets them."),
    total: count("Messages of the set for this consumer."),
    alreadyProcessed: count("How many of them it has processed by now: sent again, they are absorbed."),
    became: z.partialRecord(z.enum(BECAME), z.number()).check(described("How many came to what.")),
  })).check(described("Every consumer that the set has messages for, by its name.")),
}).check(z.meta({ ref: "ReplayOutcome" }));
export type ReplayOutcome = z.infer<typeof replayOutcomeSchema>;

/** A replay that was prepared just now, with the first page of its messages. */
export const preparedReplaySchema = z.extend(replaySchema, {
  events: z.array(replayEventSchema).check(described("The first messages.")),
  nextCursor,
}).check(z.meta({ ref: "PreparedReplay" }));
export type PreparedReplay = z.infer<typeof preparedReplaySchema>;

const operationSchema = z.object({
  id: id("Its id, a version 7 uuid: the newest has the highest."),
  at: time("When."),
  action: text("What, in a few fixed words, such as `redrive`."),
  subject: z.record(z.string(), z.unknown())
    .check(described("On what: a filter, ids (100 at most), a set's id, counts, a part, a fault.")),
  source: text("From where: the address and the user agent."),
  reason: textOrNull("Why, as the operator said; null where nothing was said."),
}).check(z.meta({ ref: "Operation" }));
export type OperationJson = z.infer<typeof operationSchema>;

export const operationsPageSchema = z.object({ operations: z.array(operationSchema), nextCursor });
export type OperationsPage = z.infer<typeof operationsPageSchema>;

/** Where a message is: one event on its way to one consumer. */
export const MESSAGE_STATES = ["waiting", "queued", "retrying", "dead", "absorbed", "done"] as const;
export type MessageState = (typeof MESSAGE_STATES)[number];

const messageSchema = z.object({
  eventId: idOrNull("The event's id; null where a dead letter is no event, and so for the next three."),
  consumer: text("Whose message it is."),
  type: textOrNull("The event's type."),
  orderId: idOrNull("The order that it is about."),
  correlationId: textOrNull("Its correlation id."),
  state: z.enum(MESSAGE_STATES).check(described(
    "`waiting` in the outbox; `queued`: published, and its consumer has not settled it; `retrying`: put off; `dead`: an open " +
      "dead letter; `absorbed`: processed, and repeats were absorbed since; `done`: processed, or discarded.",
  )),
  sinceAt: time("Since when it is there."),
  detail: textOrNull("Why: what the last attempt met with."),
  dueAt: timeOrNull("When it is tried again."),
  deadLetterId: idOrNull("Its dead letter, where it is dead."),
}).check(z.meta({ ref: "Message" }));
export type MessageJson = z.infer<typeof messageSchema>;

export const messagesPageSchema = z.object({
  messages: z.array(messageSchema),
  counts: z.nullable(z.record(z.enum(MESSAGE_STATES), z.number())).check(described(
    "How many match in each state, whatever `state` asks for: among the newest events and of what waits, retries and is " +
      "dead, 10,000 of each at most. Null on further pages.",
  )),
  nextCursor,
});
export type MessagesPage = z.infer<typeof messagesPageSchema>;

const armedFaultSchema = z.object({
  id: id("Its id."),
  point: text("Where it strikes."),
  times: count("How often it will strike yet."),
  consumer: textOrNull("Only at this consumer; null for any."),
  correlationId: textOrNull("Only at what has this correlation id; null for any."),
  delayMs: countOrNull("The delay in milliseconds; null for the point's own."),
  createdAt: time("When it was armed."),
}).check(z.meta({ ref: "ArmedFault" }));
export type ArmedFaultJson = z.infer<typeof armedFaultSchema>;

const faultPointSchema = z.object({
  point: text("Its name."),
  what: text("What happens there, in one sentence."),
  perConsumer: flag("Whether it can be narrowed to one consumer."),
  delayMs: countOrNull("Its default delay in milliseconds; null where it has none."),
}).check(z.meta({ ref: "FaultPoint" }));
export type FaultPointJson = z.infer<typeof faultPointSchema>;

export const armedSchema = z.object({ armed: z.array(armedFaultSchema) });
/** What is armed, and what can be. */
export const faultsSchema = z.extend(armedSchema, { points: z.array(faultPointSchema) });
export type FaultsJson = z.infer<typeof faultsSchema>;

const holdSchema = z.object({
  part: text("What is held."),
  sinceAt: time("Since when."),
  untilAt: time("When it goes on by itself, by the database's clock."),
  steps: count("Steps that are granted, and not yet taken."),
  because: textOrNull("Why, as the operator said; null where nothing was said."),
}).check(z.meta({ ref: "Hold" }));
export type HoldJson = z.infer<typeof holdSchema>;

export const heldSchema = z.object({ holds: z.array(holdSchema) });
/** What is held, and what can be. */
export const holdsSchema = z.extend(heldSchema, {
  parts: z.array(z.string()).check(described("Every part that can be held in this system.")),
});
export type HoldsJson = z.infer<typeof holdsSchema>;

const violationSchema = z.object({
  orderId: id("The order that it is about."),
  eventId: idOrNull("The event that it is about, where it is about one."),
  detail: text("What is wrong."),
}).check(z.meta({ ref: "Violation" }));
export type Violation = z.infer<typeof violationSchema>;

export const auditSchema = z.object({
  ok: flag("Whether every promise holds."),
  checkedAt: time("The time of the snapshot that it read."),
  graceSeconds: count("How old a cause had to be before its effect was missed, in seconds."),
  orders: count("How many orders there are."),
  events: count("How many events there are."),
  checks: z.array(z.object({
    check: text("What it looks for."),
    promise: count("The promise that is broken where it finds something, by its number in README.md."),
    count: count("How many violations there are."),
    violations: z.array(violationSchema).check(described("The first of them.")),
  })).check(described("Every check with what it has found.")),
  waitingForOperator: z.object({ count: count("How many there are."), orders: z.array(violationSchema) })
    .check(described("Orders that an open dead letter holds up: no violation.")),
});
export type AuditJson = z.infer<typeof auditSchema>;
