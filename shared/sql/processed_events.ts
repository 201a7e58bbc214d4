/**
 * The inbox, `processed_events`: what makes a delivery that is repeated an effect that is not
 * (the idempotent consumer pattern, https://microservices.io/patterns/communication-style/idempotent-consumer.html).
 *
 * @module
 */
import { type Queryable, type Statement, uuids } from "./connect.ts";

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

/** One row of the inbox. */
export interface ProcessedEventRow {
  /** The id of the event, a uuid. */
  readonly eventId: string;
  /** Who has processed it: the consumer's name, which is its queue's. */
  readonly consumer: string;
  /** When the batch that it was processed in began, by the consumer's clock. */
  readonly processedAt: Date;
  /** How often it came again and was absorbed. */
  readonly duplicates: number;
  /** When it last did; null where it never has. */
  readonly lastDuplicateAt: Date | null;
}

/**
 * Up to `limit` rows, those of the newest events first; `before` goes on behind a row. Ordered by the event's id, which
 * is a time and has an index, not by the time of processing, which would need one more on the hottest table.
 */
export async function listProcessed(
  sql: Queryable,
  { limit, before, eventId, consumer }: {
    readonly limit: number;
    readonly before?: Pick<ProcessedEventRow, "eventId" | "consumer"> | undefined;
    readonly eventId?: string | undefined;
    readonly consumer?: string | undefined;
  },
): Promise<ProcessedEventRow[]> {
  return await sql<ProcessedEventRow[]>`
    select event_id as "eventId", consumer, processed_at as "processedAt", duplicates,
           last_duplicate_at as "lastDuplicateAt"
    from processed_events where true
    ${eventId ? sql`and event_id = ${eventId}` : sql``}
    ${consumer ? sql`and consumer = ${consumer}` : sql``}
    ${before ? sql`and (event_id, consumer) < (${before.eventId}, ${before.consumer})` : sql``}
    order by event_id desc, consumer desc limit ${limit}`;
}
