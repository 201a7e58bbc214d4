/**
 * The whole system's state in one answer: the shape of `GET /ops/status`, which the command line reads.
 *
 * @module
 */
import { z } from "zod";
import { FAULT_POINT_NAMES, type FaultPoint } from "./faults/fault_points.ts";
import { liveFigureFields, type LiveFigures } from "./live.ts";
import { ORDER_STATUSES, type OrderStatus } from "./order_status.ts";
import type { Schema } from "./schema.ts";

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
export const systemStatusSchema: Schema<SystemStatus> = z.strictObject({
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
