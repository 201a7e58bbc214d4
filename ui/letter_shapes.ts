/**
 * What the API's routes of dead letters answer with, as the page reads it.
 *
 * @module
 */
import * as z from "zod/mini";
import type { Parsed } from "../shared/schema.ts";

const count = z.number();
const text = z.nullable(z.string());

/**
 * A dead letter.
 *
 * @internal
 */
export const deadLetterSchema = z.object({
  /** The letter's own id. */
  id: z.string(),
  /** Who gave up on it. */
  consumer: z.string(),
  /** The event's id; null where the body is no valid event, and so for the next three. */
  eventId: text,
  /** The event's type. */
  eventType: text,
  /** The order that it is about. */
  orderId: text,
  /** Its correlation id. */
  correlationId: text,
  /** The body as text. */
  body: z.string(),
  /** Why, in a few fixed words. */
  reason: z.string(),
  /** Why, in full. */
  detail: z.string(),
  /** Attempts so far. */
  attempts: count,
  /** `OPEN` until somebody deals with it. */
  state: z.enum(["OPEN", "REDRIVEN", "DISCARDED"]),
  /** When it was first given up on. */
  firstFailedAt: z.string(),
  /** When it was last given up on. */
  lastFailedAt: z.string(),
  /** When it was dealt with; null while it is open. */
  resolvedAt: text,
  /** How it was dealt with; null while it is open. */
  resolution: text,
});

/**
 * What a redrive came to.
 *
 * @internal
 */
export const redrivenSchema = z.object({
  /** Letters that are on their way again. */
  redriven: count,
  /** Letters that their consumer had processed meanwhile: closed, nothing sent. */
  alreadyProcessed: count,
  /** Letters that the broker did not take; they stay open. */
  refused: z.array(z.object({ id: z.string(), error: z.string() })),
});

/**
 * What a discard came to.
 *
 * @internal
 */
export const discardedSchema = z.object({ discarded: count });

/**
 * A page of dead letters.
 *
 * @internal
 */
export const deadLettersPageSchema = z.object({ deadLetters: z.array(deadLetterSchema), nextCursor: text });

/** A dead letter. */
export type DeadLetterJson = Parsed<typeof deadLetterSchema>;
/** What a redrive came to. */
export type RedrivenJson = Parsed<typeof redrivenSchema>;
/** A page of dead letters. */
export type DeadLettersPage = Parsed<typeof deadLettersPageSchema>;

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
