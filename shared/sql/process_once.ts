/**
 * One transaction for the effects of a batch of events, each event's at most once.
 *
 * @module
 */
import type { OutgoingEvent } from "../events/catalog.ts";
import type { Sql, Transaction } from "./connect.ts";
import { appendEvents } from "./outbox_events.ts";
import { markProcessed } from "./processed_events.ts";

/** An event that follows from another. */
export interface Effect {
  /** The id of the event that caused it. */
  readonly cause: string;
  /** What is to be told. */
  readonly event: OutgoingEvent;
}

/**
 * Marks the events `eventIds` as processed by `consumer`, lets `apply` write the effects of those that were not yet,
 * and appends the events that it answers with, all in one transaction. Answers with the ids of the events that had an
 * effect: new to the inbox, and not stopped by a table's own unique key.
 *
 * Errors: whatever the statements or `apply` throw; nothing is committed then.
 */
export async function processOnce(
  sql: Sql,
  consumer: string,
  eventIds: readonly string[],
  now: Date,
  apply: (tx: Transaction, fresh: ReadonlySet<string>) => Promise<readonly Effect[]>,
): Promise<Set<string>> {
  return await sql.begin(async (tx) => {
    const fresh = await markProcessed(tx, consumer, eventIds, now);
    const effects = await apply(tx, fresh);
    await appendEvents(tx, effects.map(({ event }) => event));
    return new Set(effects.map(({ cause }) => cause));
  });
}
