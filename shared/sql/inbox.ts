/**
 * One transaction for the effects of a batch of events, each event's at most once.
 *
 * @module
 */
import type { OutgoingEvent } from "../events.ts";
import {
  type Atomically,
  type Caused,
  type Queryable,
  type Sql,
  type Statement,
  type Transaction,
  transaction,
  uuids,
} from "./connect.ts";
import { appendEvents, insertingEvents } from "./outbox.ts";

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
  return await transaction(sql, async (tx) => {
    const fresh = await markProcessed(tx, consumer, eventIds, now);
    const effects = await apply(tx, fresh);
    await appendEvents(tx, effects.map(({ event }) => event));
    return new Set(effects.map(({ cause }) => cause));
  });
}

/** A row that follows from an event, and what is to be told of it. */
export interface Recording<Row> {
  /** The row, with the id of the event that caused it. */
  readonly row: Caused<Row>;
  /** What is to be told once the row is stored. */
  readonly event: OutgoingEvent;
}

/** What a batch leads to. */
export interface BatchRecord<Row> {
  /** A row for each event that has one. */
  readonly recordings: readonly Recording<Row>[];
  /** The ids of further events, which only the inbox is to count. */
  readonly repeats?: readonly string[];
}

/** Makes the statement that inserts `rows` as far as `where` holds, and answers with their ids. */
export type InsertRows<Row> = (
  sql: Queryable,
  rows: readonly Caused<Row>[],
  now: Date,
  where: Statement,
) => Statement<{ id: string }>;

/**
 * As {@linkcode processOnce}, for rows that do not depend on what the database says: marks their causes as processed,
 * inserts the rows of those that were not yet, and appends the events of the rows that were inserted, all in one
 * statement, which is one round trip instead of five. Answers with the ids of the events that had an effect.
 *
 * Errors: whatever the statement meets with; nothing is committed then.
 */
export async function recordOnce<Row extends { readonly id: string }>(
  atomically: Atomically,
  consumer: string,
  { recordings, repeats = [] }: BatchRecord<Row>,
  now: Date,
  insertRows: InsertRows<Row>,
): Promise<Set<string>> {
  const eventIds = [...recordings.map(({ row }) => row.cause), ...repeats];
  if (eventIds.length === 0) return new Set();
  const stored = await atomically(async (sql) => {
    const rows = recordings.map(({ row }) => row);
    const events = recordings.map(({ row, event }) => ({ ...event, rowId: row.id }));
    // Arrays, and no joins: those of a kept plan may be the wrong way round (`KEYED_SETTINGS`).
    return await sql<{ id: string }[]>`
      with inbox as (${markingProcessed(sql, consumer, eventIds, now)}),
      stored as (${insertRows(sql, rows, now, sql`"cause" = any(array(select id from inbox where fresh))`)}),
      told as (${insertingEvents(sql, events, sql`row_id = any(array(select id from stored))`)})
      select id from stored`;
  });
  const ids = new Set(stored.map(({ id }) => id));
  return new Set(recordings.flatMap(({ row }) => ids.has(row.id) ? [row.cause] : []));
}

/**
 * Marks events as processed by `consumer`, in one statement, and answers with the ids of those that were not yet; for
 * the others it counts that they came again. In the transaction of their effects: both commit, or neither does. A
 * concurrent copy that holds the same event makes this wait until that copy has committed or not. No id may stand
 * twice in `eventIds`.
 */
export async function markProcessed(
  sql: Queryable,
  consumer: string,
  eventIds: readonly string[],
  now: Date,
): Promise<Set<string>> {
  if (eventIds.length === 0) return new Set();
  const rows = await markingProcessed(sql, consumer, eventIds, now);
  return new Set(rows.flatMap(({ id, fresh }) => fresh ? [id] : []));
}

/**
 * The statement of {@linkcode markProcessed}, which can be made a part of another one. It answers with each event's `id`,
 * and whether that is `fresh`: new to the inbox. `where` is a condition on `id`.
 */
export function markingProcessed(
  sql: Queryable,
  consumer: string,
  eventIds: readonly string[],
  now: Date,
  where: Statement = sql`true`,
): Statement<{ id: string; fresh: boolean }> {
  // Sorted, so that two copies with overlapping batches wait for one another in one direction only.
  return sql`
    insert into processed_events as inbox (event_id, consumer, processed_at)
    select id, ${consumer}, ${now} from unnest(${uuids([...eventIds].sort())}::text::uuid[]) as id
    where ${where}
    on conflict (event_id, consumer) do update
    set duplicates = inbox.duplicates + 1, last_duplicate_at = excluded.processed_at
    returning event_id as id, duplicates = 0 as fresh`;
}

/** Those of `eventIds` that `consumer` has processed. For effects that lie outside the database and cannot be undone. */
export async function findProcessed(
  sql: Queryable,
  consumer: string,
  eventIds: readonly string[],
): Promise<Set<string>> {
  const rows = await sql<{ id: string }[]>`
    select event_id as id from processed_events
    where event_id = any(${uuids(eventIds)}::text::uuid[]) and consumer = ${consumer}`;
  return new Set(rows.map((row) => row.id));
}
