// The inbox, `processed_events`: what makes a delivery that is repeated an effect that is not
// (the idempotent consumer pattern, https://microservices.io/patterns/communication-style/idempotent-consumer.html).

import { inEnvelope, type Received, type Tell } from "../broker/message.ts";
import { type Atomically, type Caused, type Queryable, type Statement, uuids } from "./connect.ts";
import { insertingEvents, type WakeUps, wakingRelay } from "./outbox.ts";

/** Where the effects of `consumer`, which is named like its queue, go. */
export interface Inbox {
  readonly consumer: string;
  readonly atomically: Atomically;
  readonly wakeUps: WakeUps;
}

/**
 * Says that the role of `sql` consumes under the name `consumer`: from then on no other one may mark the inbox under it.
 * Answers with the role that does, which is another one where that was first.
 */
export async function ownConsumer(sql: Queryable, consumer: string): Promise<string> {
  await sql`insert into consumer_owners (consumer) values (${consumer}) on conflict do nothing`;
  const [row] = await sql<
    { owner: string }[]
  >`select owner from consumer_owners where consumer = ${consumer}`;
  if (!row) throw new Error(`Cannot tell who consumes under ${consumer}: the database answered with no row`);
  return row.owner;
}

/** A row that follows from an event, and what is to be told once it is stored. */
export interface Effect<Row> {
  readonly cause: Pick<Received, "event" | "traceparent" | "tracestate">;
  readonly row: Row;
  readonly tells: Tell;
}

/** Makes the statement that writes `rows` where `where`, a condition on `cause`, holds; it returns the ids written. */
export type WritingRows<Row> = (
  sql: Queryable,
  rows: readonly Caused<Row>[],
  now: Date,
  where: Statement,
) => Statement<{ id: string }>;

/**
 * The idea of the project in one statement, which is a transaction: marks the causes of `effects` as processed, writes
 * the rows of those that were not yet, appends what is told of the rows that were written, and wakes the relay. All of
 * it commits, or nothing. A row that its table's own unique key stops has no effect and tells nothing. `repeats` are
 * further events, which only the inbox counts. Returns the ids of the events that had an effect.
 *
 * Errors: whatever the statement meets with; nothing is committed then.
 */
export async function once<Row extends { readonly id: string }>(
  { consumer, atomically, wakeUps }: Inbox,
  effects: readonly Effect<Row>[],
  writing: WritingRows<Row>,
  now: Date,
  repeats: readonly string[] = [],
): Promise<Set<string>> {
  const eventIds = [...effects.map(({ cause }) => cause.event.eventId), ...repeats];
  if (eventIds.length === 0) return new Set();
  const rows = effects.map(({ row, cause }) => ({ ...row, cause: cause.event.eventId }));
  const events = effects.map(
    ({ row, tells, cause: { event: { correlationId }, traceparent, tracestate } }) => {
      return { ...inEnvelope(tells, { correlationId, traceparent, tracestate }, now), rowId: row.id };
    },
  );
  // Arrays, and no joins: those of a kept plan may be the wrong way round (`KEYED_SETTINGS`).
  const written = await wakeUps.carry((isDue) =>
    atomically(async (sql) =>
      await sql<{ id: string }[]>`
      with inbox as (${markingProcessed(sql, consumer, eventIds, now)}),
      stored as (${writing(sql, rows, now, sql`"cause" = any(array(select id from inbox where fresh))`)}),
      told as (${insertingEvents(sql, events, sql`row_id = any(array(select id from stored))`)})
      select id, ${wakingRelay(sql, isDue)} as woken from stored`
    )
  );
  const ids = new Set(written.map(({ id }) => id));
  return new Set(rows.flatMap(({ id, cause }) => ids.has(id) ? [cause] : []));
}

/**
 * The statement that marks events as processed by `consumer`, to be made a part of the one with their effects. It returns
 * each event's `id`, and whether that is `fresh`: new to the inbox; of the others it counts that they came again.
 * `where` is a condition on `id`. A concurrent copy that holds the same event makes this wait until that copy has
 * committed or not. No id may stand twice in `eventIds`.
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
