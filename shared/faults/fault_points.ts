/**
 * The catalogue of faults: every point at which the system can be made to fail on purpose.
 *
 * @module
 */
import { z } from "zod";
import type { Schema } from "../schema.ts";

/** A point at which a fault can strike. */
export interface FaultPointSpec {
  /** What happens there, in one sentence. */
  readonly what: string;
  /** Whether it can be narrowed to one consumer; what concerns the relay alone cannot. */
  readonly perConsumer: boolean;
  /** The delay in milliseconds unless told otherwise; null where the point has none. */
  readonly delayMs: number | null;
}

/** The points by their names, `<where>.<what>`. */
export const FAULT_POINTS = {
  "relay.crash-before-publish": {
    what: "The relay ends at once: after the commit of whoever appended the event, before it is published.",
    perConsumer: false,
    delayMs: null,
  },
  "relay.crash-after-confirm": {
    what:
      "The relay ends at once: the broker has confirmed the event, and it is not yet marked as published.",
    perConsumer: false,
    delayMs: null,
  },
  "relay.connection-lost": {
    what: "The relay's connection to the broker goes away while the event waits for its confirm.",
    perConsumer: false,
    delayMs: null,
  },
  "delivery.duplicate": {
    what: "The event is published twice.",
    perConsumer: true,
    delayMs: null,
  },
  "delivery.delayed": {
    what: "The broker confirms the event and delivers it only after the delay; others overtake it.",
    perConsumer: true,
    delayMs: 3000,
  },
  "delivery.reordered": {
    what:
      "The broker confirms the event and delivers it only once a later one with its correlation id has gone, and " +
      "the delay after that.",
    perConsumer: true,
    delayMs: 500,
  },
  "delivery.lost": {
    what: "The broker confirms the event and loses it.",
    perConsumer: true,
    delayMs: null,
  },
  "consumer.crash-before-commit": {
    what: "The consumer ends at once: all is written, and the transaction is not yet committed.",
    perConsumer: true,
    delayMs: null,
  },
  "consumer.crash-after-commit": {
    what: "The consumer ends at once: the transaction is committed, and the message is not yet acked.",
    perConsumer: true,
    delayMs: null,
  },
  "database.timeout": {
    what: "The database cancels a statement of the consumer's transaction by its time-out.",
    perConsumer: true,
    delayMs: null,
  },
  "provider.slow": {
    what: "The payment provider answers only after the delay.",
    perConsumer: true,
    delayMs: 2000,
  },
  "provider.failing": {
    what: "The payment provider says that it cannot now.",
    perConsumer: true,
    delayMs: null,
  },
  "provider.timeout": {
    what: "The payment provider never answers.",
    perConsumer: true,
    delayMs: null,
  },
} as const satisfies Record<string, FaultPointSpec>;

/** The name of a point. */
export type FaultPoint = keyof typeof FAULT_POINTS;

/** The names of all points. */
export const FAULT_POINT_NAMES = Object.keys(FAULT_POINTS) as readonly FaultPoint[];

/** The name of a point; the error names those that there are. */
export const faultPointSchema: Schema<FaultPoint> = z.enum(FAULT_POINT_NAMES, {
  error: `must be one of ${FAULT_POINT_NAMES.join(", ")}`,
});

/** A fault that is to strike. */
export interface Fault {
  /** Where it strikes. */
  readonly point: FaultPoint;
  /** How often it strikes, from 1. */
  readonly times: number;
  /** Only at this consumer, by its queue's name; null for any. */
  readonly consumer: string | null;
  /** Only at what has this correlation id; null for any. */
  readonly correlationId: string | null;
  /** The delay in milliseconds; null for the point's own. */
  readonly delayMs: number | null;
}

/** What is at hand where a fault might strike. */
export interface FaultTarget {
  /** The consumers that it concerns. */
  readonly consumers: readonly string[];
  /** The correlation ids of the events. */
  readonly correlationIds: readonly string[];
}

/** Whether a fault is meant for what is at hand. */
export function isMeantFor(
  fault: Pick<Fault, "point" | "consumer" | "correlationId">,
  point: FaultPoint,
  { consumers, correlationIds }: FaultTarget,
): boolean {
  return fault.point === point &&
    (fault.consumer === null || consumers.includes(fault.consumer)) &&
    (fault.correlationId === null || correlationIds.includes(fault.correlationId));
}
