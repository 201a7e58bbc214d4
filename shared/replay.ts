/**
 * What replays are asked for with, and what is told of them: the API's contract, which the command line shares.
 *
 * @module
 */
import { z } from "zod";
import { EVENT_TYPES, type EventType } from "./events/catalog.ts";
import { correlationIdSchema, idSchema } from "./events/envelope.ts";
import type { Schema } from "./schema.ts";

/** The most messages per second that a replay may be started with. */
export const MAX_REPLAY_RATE = 5000;

/** The messages per second of a replay that is started without a rate. */
export const DEFAULT_REPLAY_RATE = 200;

/** A point in time: ISO 8601 with an offset, not before 1970. */
export const instantSchema: Schema<string> = z.iso.datetime({
  offset: true,
  error: "must be a time such as 2026-11-22T17:15:43Z",
})
  .refine((text) => Date.parse(text) >= 0, { error: "must not be before 1970" });

const filterFields = z.strictObject({
  type: z.enum(EVENT_TYPES, { error: `must be one of ${EVENT_TYPES.join(", ")}` }).optional(),
  from: instantSchema.optional(),
  to: instantSchema.optional(),
  orderId: idSchema.optional(),
  correlationId: correlationIdSchema.optional(),
  consumer: z.string().min(1).max(200).optional(),
});

/** Which events to replay: those that match all that is given, which is at least one thing. */
export interface ReplayFilter {
  /** Only events of this type. */
  readonly type?: EventType | undefined;
  /** Only events that happened at this time or later; ISO 8601 with an offset. */
  readonly from?: string | undefined;
  /** Only events that happened before this time; ISO 8601 with an offset. */
  readonly to?: string | undefined;
  /** Only events about this order. */
  readonly orderId?: string | undefined;
  /** Only events with this correlation id. */
  readonly correlationId?: string | undefined;
  /** Only for this consumer; unless told, every consumer that is bound to an event's type gets it. */
  readonly consumer?: string | undefined;
}

/** Checks a filter: no unknown fields, at least one field, and a `from` before the `to`. */
export const replayFilterSchema: Schema<ReplayFilter> = filterFields
  .refine((filter) => Object.values(filter).some((value) => value !== undefined), {
    error: `needs at least one of ${Object.keys(filterFields.shape).join(", ")}`,
  })
  .refine(({ from, to }) => !from || !to || Date.parse(from) < Date.parse(to), {
    path: ["to"],
    error: "must be later than from",
  });

/** Messages per second: a whole number from 1 to {@linkcode MAX_REPLAY_RATE}. */
export const replayRateSchema: Schema<number> = z.number({
  error: `must be a whole number from 1 to ${MAX_REPLAY_RATE}`,
}).int({ error: `must be a whole number from 1 to ${MAX_REPLAY_RATE}` })
  .min(1, { error: "must be at least 1" })
  .max(MAX_REPLAY_RATE, { error: `must be at most ${MAX_REPLAY_RATE}` });

/** The states of a replay: written down, being sent, all sent, or ended before that. */
export const REPLAY_STATES = ["PREPARED", "RUNNING", "DONE", "CANCELLED"] as const;

/** One of the states. */
export type ReplayState = (typeof REPLAY_STATES)[number];
