/**
 * What the debug page and `deno task status` are told of the whole system, again and again.
 *
 * @module
 */
import { z } from "zod";
import { ORDER_STATUSES, type OrderStatus } from "../order_status.ts";
import { FAULT_POINT_NAMES, type FaultPoint } from "./faults.ts";

/** An order in a list. Times are ISO 8601 strings, here and below. */
export interface LiveOrder {
  /** The order's id. */
  readonly id: string;
  /** Who bought. */
  readonly userId: string;
  /** What was bought. */
  readonly courseId: string;
  /** A decimal string of two places. */
  readonly amount: string;
  /** Where it stands. */
  readonly status: OrderStatus;
  /** The correlation id of all its events. */
  readonly correlationId: string;
  /** When it was created. */
  readonly createdAt: string;
  /** When its status last changed. */
  readonly updatedAt: string;
}

/** One running copy of a process, by its own heartbeat. */
export interface LiveProcess {
  /** The process's name, such as `payments-order-created`. */
  readonly name: string;
  /** Which copy: a uuid, new at every start. */
  readonly instance: string;
  /** Its process id on its machine. */
  readonly pid: number;
  /** The address that it connects to the database from. */
  readonly host: string;
  /** The version of OrderFlow that it is. */
  readonly version: string;
  /** When it started. */
  readonly startedAt: string;
  /** Its last heartbeat. */
  readonly seenAt: string;
  /** Whether heartbeats have stopped coming: it is gone, or stuck. */
  readonly isStale: boolean;
  /**
   * What it has counted since its start: `orders` (the API); `published`, `refused`, `retries` (the relay); `batches`,
   * `processed`, `duplicates`, `retries`, `deadLetters` (a consumer).
   */
  readonly counts: Readonly<Record<string, number>>;
  /** When it last settled a batch; null before the first. */
  readonly lastBatchAt: string | null;
}

/** A queue, by the broker's own figures. */
export interface LiveQueue {
  /** The queue's name, which is its consumer's. */
  readonly queue: string;
  /** Messages that wait. */
  readonly messages: number;
  /** Consumers that are subscribed. */
  readonly consumers: number;
}

/** How everything stands. Figures of rows are counted up to 10,000. */
export interface LiveFigures {
  /** What waits in the outbox: events that the broker has not confirmed, and the age of the oldest in seconds, or 0. */
  readonly outbox: { readonly pending: number; readonly oldestSeconds: number };
  /** The queues; null while the broker cannot be reached. */
  readonly queues: readonly LiveQueue[] | null;
  /** Every process that has sent a heartbeat lately. */
  readonly processes: readonly LiveProcess[];
  /** Dead letters that nobody has dealt with, by consumer; one that has none is not named. */
  readonly deadLetters: Readonly<Record<string, number>>;
  /** Events that a consumer is to get once more, by consumer; one that has none is not named. */
  readonly retries: Readonly<Record<string, number>>;
  /** Per second, over the last few: orders created, events that the broker confirmed, events that consumers processed. */
  readonly rates: { readonly orders: number; readonly events: number; readonly processed: number };
  /**
   * From an order's creation to its final status, in milliseconds, over the newest orders that have ended: what half of
   * them, and 99 of 100, did not exceed. Null while there are none.
   */
  readonly latency: { readonly p50: number | null; readonly p99: number | null };
}

/** One message of the stream. */
export interface LivePulse extends LiveFigures {
  /** When it was read, by the API's clock. */
  readonly at: string;
  /** The newest orders, newest first. */
  readonly orders: readonly LiveOrder[];
}

const time = z.iso.datetime();
const count = z.number().int().nonnegative();
const measure = z.number().nonnegative();
const byConsumer = z.record(z.string(), count);

/** The fields of {@linkcode LiveFigures}, to be spread into a schema. */
export const liveFigureFields = {
  outbox: z.strictObject({ pending: count, oldestSeconds: measure }),
  queues: z.array(z.strictObject({ queue: z.string(), messages: count, consumers: count })).nullable(),
  processes: z.array(z.strictObject({
    name: z.string(),
    instance: z.string(),
    pid: count,
    host: z.string(),
    version: z.string(),
    startedAt: time,
    seenAt: time,
    isStale: z.boolean(),
    counts: byConsumer,
    lastBatchAt: time.nullable(),
  })),
  deadLetters: byConsumer,
  retries: byConsumer,
  rates: z.strictObject({ orders: measure, events: measure, processed: measure }),
  latency: z.strictObject({ p50: measure.nullable(), p99: measure.nullable() }),
};

/** Checks a pulse. */
export const livePulseSchema: z.ZodType<LivePulse> = z.strictObject({
  at: time,
  orders: z.array(z.strictObject({
    id: z.string(),
    userId: z.string(),
    courseId: z.string(),
    amount: z.string(),
    status: z.enum(ORDER_STATUSES),
    correlationId: z.string(),
    createdAt: time,
    updatedAt: time,
  })),
  ...liveFigureFields,
});

/** A replay under way. */
export interface StatusReplay {
  /** The replay's id. */
  readonly id: string;
  /** Messages in its set. */
  readonly total: number;
  /** How many of them have been dealt with. */
  readonly sent: number;
  /** What the last failed try met with; null where none has failed. */
  readonly lastError: string | null;
}

/** A fault that is armed on purpose. */
export interface StatusFault {
  /** Where it strikes. */
  readonly point: FaultPoint;
  /** The only consumer at which it does; null for any. */
  readonly consumer: string | null;
  /** How often it will strike yet. */
  readonly times: number;
}

/** What the database and the broker tell of the system; as the live feed tells it, and more. */
export interface StatusFigures extends LiveFigures {
  /** How many of the newest 1,000 orders have each status; a status that none has is not named. */
  readonly orders: Readonly<Partial<Record<OrderStatus, number>>>;
  /** Replays under way, newest first, up to 100. */
  readonly replays: readonly StatusReplay[];
  /** What is armed, up to 1,000; null where `FAULTS_ENABLED` is off. */
  readonly faults: readonly StatusFault[] | null;
}

/** The state of the system. */
export interface SystemStatus {
  /** When it was read, by the API's clock; ISO 8601. */
  readonly at: string;
  /** The version of the API that tells it. */
  readonly version: string;
  /** Whether the API reaches the database. */
  readonly database: "up" | "down";
  /** Whether the API reaches the broker. */
  readonly broker: "up" | "down";
  /** The figures; null where the database cannot tell them. */
  readonly figures: StatusFigures | null;
}

const upOrDown = z.enum(["up", "down"]);

/** Checks a status. */
export const systemStatusSchema: z.ZodType<SystemStatus> = z.strictObject({
  at: z.iso.datetime(),
  version: z.string(),
  database: upOrDown,
  broker: upOrDown,
  figures: z.strictObject({
    ...liveFigureFields,
    orders: z.partialRecord(z.enum(ORDER_STATUSES), z.int().nonnegative()),
    replays: z.array(z.strictObject({
      id: z.string(),
      total: z.int(),
      sent: z.int(),
      lastError: z.string().nullable(),
    })),
    faults: z.array(z.strictObject({
      point: z.enum(FAULT_POINT_NAMES),
      consumer: z.string().nullable(),
      times: z.int(),
    })).nullable(),
  }).nullable(),
});
