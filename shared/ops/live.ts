// What the debug page and `deno task status` are told of the whole system, again and again. Times are ISO 8601 texts.

import { z } from "zod";
import { ORDER_STATUSES } from "../order_status.ts";
import { FAULT_POINT_NAMES } from "./faults.ts";

const time = z.iso.datetime();
const count = z.number().int().nonnegative();
const measure = z.number().nonnegative();
const byConsumer = z.record(z.string(), count);
type Frozen<T> = { readonly [K in keyof T]: Frozen<T[K]> };

const liveOrder = z.strictObject({
  id: z.string(),
  userId: z.string(),
  courseId: z.string(),
  amount: z.string(),
  status: z.enum(ORDER_STATUSES),
  correlationId: z.string(),
  createdAt: time,
  updatedAt: time,
});
/** An order in a list; the amount is a decimal string of two places. */
export type LiveOrder = Frozen<z.infer<typeof liveOrder>>;

const liveProcess = z.strictObject({
  name: z.string(),
  /** A uuid, new at every start. */
  instance: z.string(),
  pid: count,
  /** The address that it connects to the database from. */
  host: z.string(),
  version: z.string(),
  startedAt: time,
  seenAt: time,
  /** Whether heartbeats have stopped coming: it is gone, or stuck. */
  isStale: z.boolean(),
  /**
   * What it has counted since its start: `orders` (the API); `published`, `refused`, `retries` (the relay); `batches`,
   * `processed`, `duplicates`, `retries`, `deadLetters` (a consumer).
   */
  counts: byConsumer,
  /** How many milliseconds its clock is ahead of the database's, where it is wrong: off by more than 5 s. */
  clockAheadMs: z.number().optional(),
  /** Null before the first. */
  lastBatchAt: time.nullable(),
});
/** One running copy of a process, by its own heartbeat. */
export type LiveProcess = Frozen<z.infer<typeof liveProcess>>;

/** How everything stands. Figures of rows are counted up to 10,000; a consumer that has none of a thing is not named. */
const liveFigureFields = {
  /** Events that the broker has not confirmed, and the age of the oldest, or 0. */
  outbox: z.strictObject({ pending: count, oldestSeconds: measure }),
  /** By the broker's own figures; null while it cannot be reached. */
  queues: z.array(z.strictObject({ queue: z.string(), messages: count, consumers: count })).nullable(),
  processes: z.array(liveProcess),
  /** Those that nobody has dealt with. */
  deadLetters: byConsumer,
  /** Events that a consumer is to get once more. */
  retries: byConsumer,
  /** What an operator holds, by part, with the steps that are granted and not yet taken; `because` is what was said. */
  holds: z.array(z.strictObject({
    part: z.string(),
    since: time,
    until: time,
    steps: count,
    because: z.string().nullable(),
  })),
  /** Per second, over the last few: orders created, events that the broker confirmed, events that consumers processed. */
  rates: z.strictObject({ orders: measure, events: measure, processed: measure }),
  /**
   * From an order's creation to its final status, in milliseconds, over the newest orders that have ended: what half of
   * them, and 99 of 100, did not exceed. Null while there are none.
   */
  latency: z.strictObject({ p50: measure.nullable(), p99: measure.nullable() }),
};

/** One message of the stream; the newest orders come first. `at` is by the API's clock. */
export const livePulseSchema = z.strictObject({ at: time, orders: z.array(liveOrder), ...liveFigureFields });
export type LivePulse = Frozen<z.infer<typeof livePulseSchema>>;

const statusFigures = z.strictObject({
  ...liveFigureFields,
  /** How many of the newest 1,000 orders have each status; a status that none has is not named. */
  orders: z.partialRecord(z.enum(ORDER_STATUSES), z.int().nonnegative()),
  /** Those under way, newest first, up to 100. */
  replays: z.array(z.strictObject({
    id: z.string(),
    total: z.int(),
    sent: z.int(),
    lastError: z.string().nullable(),
  })),
  /** What is armed, up to 1,000; null where `FAULTS_ENABLED` is off. */
  faults: z.array(z.strictObject({
    point: z.enum(FAULT_POINT_NAMES),
    consumer: z.string().nullable(),
    times: z.int(),
  })).nullable(),
});
/** What the database and the broker tell of the system; as the live feed tells it, and more. */
export type StatusFigures = Frozen<z.infer<typeof statusFigures>>;

const upOrDown = z.enum(["up", "down"]);

/** The state of the system, by the API: whether it reaches the services, and what the database can tell, or null. */
export const systemStatusSchema = z.strictObject({
  at: time,
  version: z.string(),
  database: upOrDown,
  broker: upOrDown,
  figures: statusFigures.nullable(),
});
export type SystemStatus = Frozen<z.infer<typeof systemStatusSchema>>;
