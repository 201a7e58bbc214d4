/**
 * Sends dead letters to their consumer again.
 *
 * @module
 */
import { type Publisher, type PublishOutcome, toQueue } from "../../shared/broker/publish.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import {
  type ClaimedLetter,
  claimOpenLetters,
  closeLetters,
  type LetterSelection,
} from "../../shared/ops/dead_letters.ts";

/** The result of a redrive. */
export interface Redriven {
  readonly redriven: number;
  /** Letters whose event their consumer had processed meanwhile: closed, since sending it would do nothing. */
  readonly alreadyProcessed: number;
  /** Letters that the broker did not take. They stay open; each with why. */
  readonly refused: readonly { readonly id: string; readonly error: string }[];
}

/** How long the broker may take to answer for a batch, in milliseconds. */
const CONFIRM_TIMEOUT_MS = 5000;

/**
 * Redrives up to `limit` open letters, in one transaction, each to its own consumer's queue and to nobody else. A letter
 * is closed once the broker has its message; killed in between, it stays open, and is sent once more another time, which
 * the inbox absorbs.
 */
export async function redriveLetters(
  sql: Sql,
  publisher: Publisher,
  selection: LetterSelection,
  limit: number,
): Promise<Redriven> {
  return await transaction(sql, async (tx) => {
    const letters = await claimOpenLetters(tx, selection, limit);
    const processed = letters.filter((letter) => letter.processed).map(({ id }) => id);
    const outcomes = await send(publisher, letters.filter((letter) => !letter.processed));
    const redriven = outcomes.flatMap(({ confirmed }) => confirmed);
    await closeLetters(tx, redriven, "REDRIVEN", "redriven");
    await closeLetters(tx, processed, "DISCARDED", "already processed");
    return {
      redriven: redriven.length,
      alreadyProcessed: processed.length,
      refused: outcomes.flatMap(({ refused, unknown }) => [
        ...refused,
        ...unknown.map((id) => ({ id, error: "the broker gave no answer" })),
      ]),
    };
  });
}

/** One batch per consumer. */
async function send(publisher: Publisher, letters: readonly ClaimedLetter[]): Promise<PublishOutcome[]> {
  const batches = Map.groupBy(letters, ({ consumer }) => consumer);
  return await Promise.all([...batches].map(([consumer, batch]) => {
    const messages = batch.map(({ id, eventType, correlationId, traceparent, body }) => ({
      id,
      type: eventType,
      correlationId,
      traceparent,
      occurredAt: null,
      body,
    }));
    return publisher.publish(messages, toQueue(consumer), CONFIRM_TIMEOUT_MS);
  }));
}
