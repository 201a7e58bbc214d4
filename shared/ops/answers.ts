/**
 * The shapes of the API's answers, in zod/mini, which costs the browser a fraction of zod. Formats and ranges are
 * added where the API is described.
 *
 * @module
 */
import * as z from "zod/mini";
import { ORDER_STATUSES } from "../order_status.ts";

/**
 * A text.
 *
 * @internal
 */
export function text(description: string): z.ZodMiniString {
  return z.string().check(z.meta({ description }));
}

/**
 * A text, or null.
 *
 * @internal
 */
export function textOrNull(description: string): z.ZodMiniNullable<z.ZodMiniString> {
  return z.nullable(z.string()).check(z.meta({ description }));
}

/**
 * An id: a uuid in lower case.
 *
 * @internal
 */
export function id(description: string): z.ZodMiniString {
  return z.string().check(z.meta({ description, format: "uuid" }));
}

/**
 * An id, or null.
 *
 * @internal
 */
export function idOrNull(description: string): z.ZodMiniNullable<z.ZodMiniString> {
  return z.nullable(z.string()).check(z.meta({ description, format: "uuid" }));
}

/**
 * A time: ISO 8601, in UTC.
 *
 * @internal
 */
export function time(description: string): z.ZodMiniString {
  return z.string().check(z.meta({ description, format: "date-time" }));
}

/**
 * A time, or null.
 *
 * @internal
 */
export function timeOrNull(description: string): z.ZodMiniNullable<z.ZodMiniString> {
  return z.nullable(z.string()).check(z.meta({ description, format: "date-time" }));
}

/**
 * A whole number, 0 or more.
 *
 * @internal
 */
export function count(description: string): z.ZodMiniNumber {
  return z.number().check(z.meta({ description, type: "integer", minimum: 0 }));
}

/**
 * A number, 0 or more, or null.
 *
 * @internal
 */
export function countOrNull(description: string): z.ZodMiniNullable<z.ZodMiniNumber> {
  return z.nullable(z.number()).check(z.meta({ description, minimum: 0 }));
}

/**
 * The cursor of the page behind this one.
 *
 * @internal
 */
export const nextCursor = textOrNull(
  "The `cursor` of the page behind this one; null on the last one.",
);

/**
 * One field of a request that is at fault.
 *
 * @internal
 */
export const fieldErrorSchema = z.object({
  field: text("The field's name; nested ones with dots."),
  in: z.enum(["body", "query", "path"]).check(z.meta({ description: "Which part of the request it is in." })),
  pointer: z.optional(
    text(
      "Where it stands in the body, as a JSON pointer fragment (RFC 6901, section 6); for the body alone.",
    ),
  ),
  detail: text("What is wrong with it, for people, such as `must be greater than zero`."),
}).check(z.meta({ ref: "FieldError" }));

/**
 * Problem details.
 *
 * @internal
 */
export const problemSchema = z.object({
  type: text("`about:blank`: the status code says which kind of problem it is."),
  title: text("The kind of problem in a few words, such as `Conflict`."),
  status: z.number().check(z.meta({ description: "The status code.", type: "integer" })),
  detail: text("What is wrong, and what to do about it."),
  instance: text("The path that was asked for."),
  errors: z.optional(
    z.array(fieldErrorSchema).check(z.meta({ description: "Every field that is at fault." })),
  ),
}).check(z.meta({ ref: "Problem" }));

/** One field of a request that is at fault. */
export type FieldError = z.infer<typeof fieldErrorSchema>;
/** Problem details. */
export type Problem = z.infer<typeof problemSchema>;

const status = z.enum(ORDER_STATUSES);

/**
 * An order as the public routes show it.
 *
 * @internal
 */
export const orderSchema = z.object({
  id: id("The order's id, a version 7 uuid: the newest order has the highest."),
  userId: id("Who bought."),
  courseId: id("What was bought."),
  amount: text("A decimal string of two places."),
  status: status.check(z.meta({ description: "Where it stands." })),
  createdAt: time("When it was created."),
  updatedAt: time("When its status last changed."),
}).check(z.meta({ ref: "Order" }));

/**
 * An order as ops sees it.
 *
 * @internal
 */
export const opsOrderSchema = z.extend(orderSchema, {
  correlationId: text("The correlation id of all its events."),
}).check(z.meta({ ref: "OpsOrder" }));

const about = {
  at: time("When."),
  eventId: idOrNull(
    "The event that it is about; null for the creation of the order, or where none could be read.",
  ),
  eventType: textOrNull("That event's type."),
  traceId: textOrNull("The trace that it belongs to, 32 hex digits; null where there is none."),
};
const consumer = text("Which consumer, by the name of its queue.");

/**
 * One thing that happened to an order.
 *
 * @internal
 */
export const timelineEntrySchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("emitted"), ...about }),
  z.object({
    kind: z.literal("published"),
    ...about,
    retryCount: count("How often the broker refused it before."),
  }),
  z.object({ kind: z.literal("processed"), ...about, consumer }),
  z.object({
    kind: z.literal("duplicate"),
    ...about,
    consumer,
    duplicates: count("How often it came again and was absorbed."),
  }),
  z.object({
    kind: z.literal("retry"),
    ...about,
    consumer,
    retries: count("Retries so far."),
    error: text("What the last attempt met with."),
    dueAt: timeOrNull("When the consumer gets it again; null when it has been sent."),
  }),
  z.object({ kind: z.literal("status"), ...about, from: z.nullable(status), to: status }),
  z.object({
    kind: z.literal("dead-letter"),
    ...about,
    consumer,
    reason: text("Why, in a few fixed words."),
    deadLetterId: id("The dead letter's id."),
  }),
]).check(z.meta({
  ref: "TimelineEntry",
  description:
    "One thing that happened to an order: an event was appended to the outbox (`emitted`), confirmed by " +
    "the broker (`published`), processed, absorbed as a repeat (`duplicate`), put off (`retry`) or given up on " +
    "(`dead-letter`) by a consumer, or the order moved (`status`).",
}));

/**
 * An order and what happened to it, oldest entry first.
 *
 * @internal
 */
export const orderStorySchema = z.object({ order: opsOrderSchema, timeline: z.array(timelineEntrySchema) });

/**
 * A scenario that can be played.
 *
 * @internal
 */
export const scenarioSchema = z.object({
  name: text("The last part of its path."),
  path: text("Its whole path."),
  group: text("What it belongs to, for people."),
  expect: text("What to expect of it."),
});

/**
 * An event in the outbox.
 *
 * @internal
 */
export const outboxEventSchema = z.object({
  id: id("The event's id."),
  type: text("Its type, which is its routing key."),
  orderId: id("The order that it is about."),
  correlationId: text("Its correlation id."),
  traceparent: textOrNull("W3C trace context; null where there is none."),
  payload: z.unknown().check(z.meta({ description: "The whole envelope, data included, as it is sent." })),
  occurredAt: time("When it happened."),
  publishedAt: timeOrNull("When the broker had confirmed it; null while it waits."),
  retryCount: count("How often the broker has refused it."),
  lastError: textOrNull("What the last refusal said; null where there was none."),
  nextAttemptAt: timeOrNull("When it is tried again; null where it waits for nothing."),
}).check(z.meta({ ref: "OutboxEvent" }));

/**
 * An event that is published once more.
 *
 * @internal
 */
export const republishedSchema = z.extend(outboxEventSchema, {
  alreadyProcessedBy: z.array(z.string()).check(
    z.meta({ description: "The consumers that have processed it, and will absorb the repeat." }),
  ),
}).check(z.meta({ ref: "RepublishedEvent" }));

/**
 * One row of the inbox.
 *
 * @internal
 */
export const processedEventSchema = z.object({
  eventId: id("The event's id."),
  consumer: text("Who has processed it."),
  processedAt: time("When."),
  duplicates: count("How often it came again and was absorbed."),
  lastDuplicateAt: timeOrNull("When it last did; null where it never has."),
}).check(z.meta({ ref: "ProcessedEvent" }));

/**
 * A page of the outbox.
 *
 * @internal
 */
export const outboxPageSchema = z.object({ events: z.array(outboxEventSchema), nextCursor });
/**
 * A page of the inbox.
 *
 * @internal
 */
export const inboxPageSchema = z.object({ processedEvents: z.array(processedEventSchema), nextCursor });
/**
 * A page of orders.
 *
 * @internal
 */
export const ordersPageSchema = z.object({ orders: z.array(opsOrderSchema), nextCursor });
/**
 * The scenarios on offer.
 *
 * @internal
 */
export const scenariosSchema = z.object({ scenarios: z.array(scenarioSchema) });

/** An order as the public routes show it. */
export type OrderJson = z.infer<typeof orderSchema>;
/** One thing that happened to an order. */
export type TimelineEntryJson = z.infer<typeof timelineEntrySchema>;
/** An order and what happened to it. */
export type OrderStoryJson = z.infer<typeof orderStorySchema>;
/** A scenario that can be played. */
export type ScenarioInfo = z.infer<typeof scenarioSchema>;
/** An event in the outbox. */
export type OutboxEventJson = z.infer<typeof outboxEventSchema>;
/** An event that is published once more. */
export type RepublishedJson = z.infer<typeof republishedSchema>;
/** One row of the inbox. */
export type ProcessedEventJson = z.infer<typeof processedEventSchema>;
/** A page of orders. */
export type OrdersPage = z.infer<typeof ordersPageSchema>;
/** A page of the outbox. */
export type OutboxPage = z.infer<typeof outboxPageSchema>;
/** A page of the inbox. */
export type InboxPage = z.infer<typeof inboxPageSchema>;

/**
 * A dead letter.
 *
 * @internal
 */
export const deadLetterSchema = z.object({
  id: id("The letter's own id."),
  consumer: text("Who gave up on it."),
  eventId: idOrNull("The event's id; null where the body is no valid event, and so for the next three."),
  eventType: textOrNull("The event's type."),
  orderId: idOrNull("The order that it is about."),
  correlationId: textOrNull("Its correlation id."),
  body: text("The body as text."),
  reason: text("Why, in a few fixed words."),
  detail: text("Why, in full."),
  attempts: count("Attempts so far."),
  state: z.enum(["OPEN", "REDRIVEN", "DISCARDED"]).check(
    z.meta({ description: "`OPEN` until somebody deals with it." }),
  ),
  firstFailedAt: time("When it was first given up on."),
  lastFailedAt: time("When it was last given up on."),
  resolvedAt: timeOrNull("When it was dealt with; null while it is open."),
  resolution: textOrNull("How it was dealt with; null while it is open."),
}).check(z.meta({ ref: "DeadLetter" }));

/**
 * What a redrive came to.
 *
 * @internal
 */
export const redrivenSchema = z.object({
  redriven: count("Letters that are on their way again."),
  alreadyProcessed: count("Letters that their consumer had processed meanwhile: closed, nothing sent."),
  refused: z.array(z.object({ id: id("The letter's id."), error: text("What the broker said.") })).check(
    z.meta({ description: "Letters that the broker did not take; they stay open." }),
  ),
}).check(z.meta({ ref: "Redriven" }));

/**
 * What a discard came to.
 *
 * @internal
 */
export const discardedSchema = z.object({ discarded: count("Letters that were closed.") });

/**
 * A page of dead letters.
 *
 * @internal
 */
export const deadLettersPageSchema = z.object({ deadLetters: z.array(deadLetterSchema), nextCursor });

/** A dead letter. */
export type DeadLetterJson = z.infer<typeof deadLetterSchema>;
/** What a redrive came to. */
export type RedrivenJson = z.infer<typeof redrivenSchema>;
/** A page of dead letters. */
export type DeadLettersPage = z.infer<typeof deadLettersPageSchema>;

/** The reasons that consumers give up for, to be offered where somebody filters; any other can be typed. */
export const LETTER_REASONS: readonly string[] = [
  "handler failed",
  "illegal refund",
  "illegal transition",
  "invalid payload",
  "kills its worker",
  "not JSON",
  "retries exhausted",
  "too early",
  "unexpected type",
  "unknown type",
  "unknown version",
];

/**
 * A replay; `shared/ops/replays.ts` says what the figures count.
 *
 * @internal
 */
export const replaySchema = z.object({
  id: id("The replay's id."),
  filter: z.record(z.string(), z.string()).check(z.meta({ description: "What was asked for, by field." })),
  state: z.enum(["PREPARED", "RUNNING", "DONE", "CANCELLED"]).check(
    z.meta({ description: "`PREPARED` until it is started, then `RUNNING` until it has ended." }),
  ),
  total: count("Messages in the set."),
  alreadyProcessed: count("How many of them their consumer had processed when the set was written down."),
  sent: count("How many have been dealt with."),
  skipped: count("How many of those were skipped: pruned meanwhile, or too old."),
  ratePerSecond: countOrNull("Messages per second at most; null until it is started."),
  lastError: textOrNull("What the last failed try met with."),
  reason: textOrNull("Why it was cancelled."),
  createdAt: time("When the set was written down."),
  startedAt: timeOrNull("When it was started."),
  finishedAt: timeOrNull("When it ended."),
}).check(z.meta({ ref: "Replay" }));

/**
 * One message of a replay.
 *
 * @internal
 */
export const replayEventSchema = z.object({
  position: count("Its place in the set, from 1 on."),
  eventId: id("The event's id."),
  consumer: text("Who gets it."),
  type: textOrNull("The event's type; null where it has been pruned, and so for the next three."),
  orderId: idOrNull("The order that it is about."),
  correlationId: textOrNull("Its correlation id."),
  occurredAt: timeOrNull("When it happened."),
  processed: z.boolean().check(
    z.meta({ description: "Whether the consumer has processed it, and will absorb the repeat." }),
  ),
}).check(z.meta({ ref: "ReplayEvent" }));

/**
 * A page of a replay's messages.
 *
 * @internal
 */
export const replayEventsPageSchema = z.object({ events: z.array(replayEventSchema), nextCursor });
/**
 * A replay that was prepared just now, with the first page of its messages.
 *
 * @internal
 */
export const preparedReplaySchema = z.extend(replaySchema, {
  events: z.array(replayEventSchema).check(z.meta({ description: "The first messages." })),
  nextCursor,
}).check(z.meta({ ref: "PreparedReplay" }));
/**
 * A page of replays, newest first.
 *
 * @internal
 */
export const replaysPageSchema = z.object({ replays: z.array(replaySchema), nextCursor });

/**
 * A fault that is armed.
 *
 * @internal
 */
export const armedFaultSchema = z.object({
  id: id("Its id."),
  point: text("Where it strikes."),
  times: count("How often it will strike yet."),
  consumer: textOrNull("Only at this consumer; null for any."),
  correlationId: textOrNull("Only at what has this correlation id; null for any."),
  delayMs: countOrNull("The delay in milliseconds; null for the point's own."),
  createdAt: time("When it was armed."),
}).check(z.meta({ ref: "ArmedFault" }));

/**
 * A point at which a fault can strike.
 *
 * @internal
 */
export const faultPointSchema = z.object({
  point: text("Its name."),
  what: text("What happens there, in one sentence."),
  perConsumer: z.boolean().check(z.meta({ description: "Whether it can be narrowed to one consumer." })),
  delayMs: countOrNull("Its delay in milliseconds unless told otherwise; null where it has none."),
}).check(z.meta({ ref: "FaultPoint" }));

/**
 * What is armed.
 *
 * @internal
 */
export const armedSchema = z.object({ armed: z.array(armedFaultSchema) });
/**
 * What is armed, and what can be.
 *
 * @internal
 */
export const faultsSchema = z.extend(armedSchema, { points: z.array(faultPointSchema) });

const violation = z.object({
  orderId: id("The order that it is about."),
  eventId: idOrNull("The event that it is about, where it is about one."),
  detail: text("What is wrong."),
}).check(z.meta({ ref: "Violation" }));

/**
 * What the audit has found.
 *
 * @internal
 */
export const auditSchema = z.object({
  ok: z.boolean().check(z.meta({ description: "Whether every promise holds." })),
  checkedAt: time("The time of the snapshot that it read."),
  graceSeconds: count("How old a cause had to be before its effect was missed, in seconds."),
  orders: count("How many orders there are."),
  events: count("How many events there are."),
  checks: z.array(z.object({
    check: text("What it looks for."),
    promise: count("The promise that is broken where it finds something, by its number in specs/project.md."),
    count: count("How many violations there are."),
    violations: z.array(violation).check(z.meta({ description: "The first of them." })),
  })).check(z.meta({ description: "Every check with what it has found." })),
  waitingForOperator: z.object({ count: count("How many there are."), orders: z.array(violation) }).check(
    z.meta({ description: "Orders that an open dead letter holds up: no violation." }),
  ),
});

/** A replay. */
export type ReplayJson = z.infer<typeof replaySchema>;
/** One message of a replay. */
export type ReplayEventJson = z.infer<typeof replayEventSchema>;
/** A page of a replay's messages. */
export type ReplayEventsPage = z.infer<typeof replayEventsPageSchema>;
/** A replay that was prepared just now. */
export type PreparedReplay = z.infer<typeof preparedReplaySchema>;
/** A page of replays. */
export type ReplaysPage = z.infer<typeof replaysPageSchema>;
/** A fault that is armed. */
export type ArmedFaultJson = z.infer<typeof armedFaultSchema>;
/** A point at which a fault can strike. */
export type FaultPointJson = z.infer<typeof faultPointSchema>;
/** What is armed, and what can be. */
export type FaultsJson = z.infer<typeof faultsSchema>;
/** What the audit has found. */
export type AuditJson = z.infer<typeof auditSchema>;
