/**
 * What the routes of dead letters answer with: the schemas by which the API is described and the page reads its answers.
 *
 * @module
 */
import * as z from "zod/mini";
import type { Parsed } from "../schema.ts";
import { count, id, idOrNull, nextCursor, text, textOrNull, time, timeOrNull } from "./fields.ts";

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
