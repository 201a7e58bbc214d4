/**
 * What the API's routes of replays, faults and the audit answer with, as the page reads it.
 *
 * @module
 */
import * as z from "zod/mini";
import type { Parsed } from "../shared/schema.ts";

const count = z.number();
const text = z.nullable(z.string());

/**
 * A replay; `shared/sql/replays.ts` says what the figures count.
 *
 * @internal
 */
export const replaySchema = z.object({
  /** The replay's id. */
  id: z.string(),
  /** What was asked for, by field. */
  filter: z.record(z.string(), z.string()),
  /** `PREPARED` until it is started, then `RUNNING` until it has ended. */
  state: z.enum(["PREPARED", "RUNNING", "DONE", "CANCELLED"]),
  /** Messages in the set. */
  total: count,
  /** How many of them their consumer had processed when the set was written down. */
  alreadyProcessed: count,
  /** How many have been dealt with. */
  sent: count,
  /** How many of those were skipped. */
  skipped: count,
  /** Messages per second at most; null until it is started. */
  ratePerSecond: z.nullable(z.number()),
  /** What the last failed try met with. */
  lastError: text,
  /** Why it was cancelled. */
  reason: text,
  /** When the set was written down. */
  createdAt: z.string(),
  /** When it was started. */
  startedAt: text,
  /** When it ended. */
  finishedAt: text,
});

/**
 * One message of a replay.
 *
 * @internal
 */
export const replayEventSchema = z.object({
  /** Its place in the set, from 1 on. */
  position: count,
  /** The event's id. */
  eventId: z.string(),
  /** Who gets it. */
  consumer: z.string(),
  /** The event's type; null where it has been pruned, and so for the next three. */
  type: text,
  /** The order that it is about. */
  orderId: text,
  /** Its correlation id. */
  correlationId: text,
  /** When it happened. */
  occurredAt: text,
  /** Whether the consumer has processed it, and will absorb the repeat. */
  processed: z.boolean(),
});

/**
 * A page of a replay's messages.
 *
 * @internal
 */
export const replayEventsPageSchema = z.object({ events: z.array(replayEventSchema), nextCursor: text });
/**
 * A replay that was prepared just now, with the first page of its messages.
 *
 * @internal
 */
export const preparedReplaySchema = z.extend(replaySchema, {
  /** The first messages. */
  events: z.array(replayEventSchema),
  /** Where they go on; null where that is all. */
  nextCursor: text,
});
/**
 * A page of replays, newest first.
 *
 * @internal
 */
export const replaysPageSchema = z.object({ replays: z.array(replaySchema), nextCursor: text });

/**
 * A fault that is armed.
 *
 * @internal
 */
export const armedFaultSchema = z.object({
  /** Its id. */
  id: z.string(),
  /** Where it strikes. */
  point: z.string(),
  /** How often it will strike yet. */
  times: count,
  /** Only at this consumer; null for any. */
  consumer: text,
  /** Only at what has this correlation id; null for any. */
  correlationId: text,
  /** The delay in milliseconds; null for the point's own. */
  delayMs: z.nullable(z.number()),
});

/**
 * A point at which a fault can strike.
 *
 * @internal
 */
export const faultPointSchema = z.object({
  /** Its name. */
  point: z.string(),
  /** What happens there, in one sentence. */
  what: z.string(),
  /** Whether it can be narrowed to one consumer. */
  perConsumer: z.boolean(),
  /** Its delay in milliseconds unless told otherwise; null where it has none. */
  delayMs: z.nullable(z.number()),
});

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

const violation = z.object({ orderId: z.string(), eventId: text, detail: z.string() });

/**
 * What the audit has found.
 *
 * @internal
 */
export const auditSchema = z.object({
  /** Whether every promise holds. */
  ok: z.boolean(),
  /** The time of the snapshot that it read. */
  checkedAt: z.string(),
  /** How old a cause had to be before its effect was missed, in seconds. */
  graceSeconds: count,
  /** How many orders there are. */
  orders: count,
  /** How many events there are. */
  events: count,
  /** Every check with what it has found. */
  checks: z.array(z.object({
    /** What it looks for. */
    check: z.string(),
    /** The promise that is broken where it finds something. */
    promise: count,
    /** How many violations there are. */
    count,
    /** The first of them. */
    violations: z.array(violation),
  })),
  /** Orders that an open dead letter holds up: no violation. */
  waitingForOperator: z.object({ count, orders: z.array(violation) }),
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
