/**
 * What the routes of replays, faults and the audit answer with: the schemas by which the API is described and the page
 * reads its answers.
 *
 * @module
 */
import * as z from "zod/mini";
import type { Parsed } from "../schema.ts";
import {
  count,
  countOrNull,
  id,
  idOrNull,
  nextCursor,
  text,
  textOrNull,
  time,
  timeOrNull,
} from "./fields.ts";

/**
 * A replay; `shared/sql/replays.ts` says what the figures count.
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
export type ReplayJson = Parsed<typeof replaySchema>;
/** One message of a replay. */
export type ReplayEventJson = Parsed<typeof replayEventSchema>;
/** A page of a replay's messages. */
export type ReplayEventsPage = Parsed<typeof replayEventsPageSchema>;
/** A replay that was prepared just now. */
export type PreparedReplay = Parsed<typeof preparedReplaySchema>;
/** A page of replays. */
export type ReplaysPage = Parsed<typeof replaysPageSchema>;
/** A fault that is armed. */
export type ArmedFaultJson = Parsed<typeof armedFaultSchema>;
/** A point at which a fault can strike. */
export type FaultPointJson = Parsed<typeof faultPointSchema>;
/** What is armed, and what can be. */
export type FaultsJson = Parsed<typeof faultsSchema>;
/** What the audit has found. */
export type AuditJson = Parsed<typeof auditSchema>;
