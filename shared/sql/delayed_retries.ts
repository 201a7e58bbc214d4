/**
 * The table `delayed_retries`: events that failed for now, and when their consumers are to get them again.
 *
 * @module
 */
import { type Queryable, rowset, storableText, uuids } from "./connect.ts";

/** An event that its consumer is to get again. */
export interface NewRetry {
  /** Who is to get it: the consumer's name, which is its queue's. */
  readonly consumer: string;
  /** The id of the event. */
  readonly eventId: string;
  /** The event's type. */
  readonly eventType: string;
  /** The order that the event is about. */
  readonly orderId: string;
  /** The event's correlation id. */
  readonly correlationId: string;
  /** W3C trace context; null where there is none. */
  readonly traceparent: string | null;
  /** The message's body, byte for byte. */
  readonly body: Uint8Array;
  /** What the attempt met with; the first 2,000 characters are kept. */
  readonly error: string;
  /** Retries spent so far, the one to come included if it counts. */
  readonly retries: number;
  /** When its consumer first looked at it. */
  readonly firstSeenAt: Date;
  /** When it is due, in milliseconds from now. */
  readonly delayMs: number;
}

/**
 * Keeps events until they are due, in one statement. An event that is kept already, because a worker was killed between
 * this and its ack or because it was delivered twice, stays one: with the higher count of retries.
 */
export async function storeRetries(sql: Queryable, retries: readonly NewRetry[], now: Date): Promise<void> {
  const unique = new Map(retries.map((retry) => [`${retry.consumer} ${retry.eventId}`, retry]));
  const rows = [...unique.values()].map((retry) => ({
    ...retry,
    body: retry.body.toBase64(),
    error: storableText(retry.error),
  }));
  if (rows.length === 0) return;
  await sql`
    insert into delayed_retries as known (
      consumer, event_id, event_type, order_id, correlation_id, traceparent, body, error, retries, first_seen_at,
      last_failed_at, due_at
    )
    select "consumer", "eventId", "eventType", "orderId", "correlationId", "traceparent", decode("body", 'base64'),
           left("error", 2000), "retries", "firstSeenAt", ${now},
           ${now}::timestamptz + "delayMs" * interval '1 millisecond'
    from jsonb_to_recordset(${rowset(rows)}::text::jsonb) as new (
      "consumer" text, "eventId" uuid, "eventType" text, "orderId" uuid, "correlationId" text, "traceparent" text,
      "body" text, "error" text, "retries" integer, "firstSeenAt" timestamptz, "delayMs" integer
    )
    order by "eventId"
    on conflict (event_id, consumer) do update
    set error = excluded.error, retries = greatest(known.retries, excluded.retries),
        first_seen_at = least(known.first_seen_at, excluded.first_seen_at),
        last_failed_at = greatest(known.last_failed_at, excluded.last_failed_at), due_at = excluded.due_at`;
}

/** A retry that is due. */
export interface DueRetry {
  /** Who is to get it. */
  readonly consumer: string;
  /** The id of the event. */
  readonly eventId: string;
  /** The event's type. */
  readonly eventType: string;
  /** The event's correlation id. */
  readonly correlationId: string;
  /** W3C trace context; null where there is none. */
  readonly traceparent: string | null;
  /** The message's body, byte for byte. */
  readonly body: Uint8Array;
  /** Retries spent, the one to come included if it counts. */
  readonly retries: number;
  /** When its consumer first looked at it. */
  readonly firstSeenAt: Date;
}

/** Claims up to `limit` retries that are due, the longest due first, by locking them until the transaction ends. */
export async function claimDueRetries(sql: Queryable, limit: number): Promise<DueRetry[]> {
  return await sql<DueRetry[]>`
    select consumer, event_id as "eventId", event_type as "eventType", correlation_id as "correlationId", traceparent,
           body, retries, first_seen_at as "firstSeenAt"
    from delayed_retries where due_at <= now()
    order by due_at limit ${limit}
    for update skip locked`;
}

/** A retry, by its key. */
export type RetryKey = Pick<DueRetry, "consumer" | "eventId">;

/** Notes that retries have been sent, and when, in one statement. */
export async function markRetriesSent(sql: Queryable, sent: readonly RetryKey[]): Promise<void> {
  if (sent.length === 0) return;
  await sql`
    update delayed_retries r set due_at = null, sent_at = clock_timestamp()
    from jsonb_to_recordset(${rowset(sent)}::text::jsonb) as sent (consumer text, "eventId" uuid)
    where r.event_id = sent."eventId" and r.consumer = sent.consumer
      and r.event_id = any(${uuids(sent.map(({ eventId }) => eventId))}::text::uuid[]) -- by the index`;
}

/** Makes retries that could not be sent due once more after `delayMs` milliseconds, in one statement. */
export async function postponeRetries(
  sql: Queryable,
  unsent: readonly RetryKey[],
  delayMs: number,
): Promise<void> {
  if (unsent.length === 0) return;
  await sql`
    update delayed_retries r set due_at = clock_timestamp() + ${delayMs}::int * interval '1 millisecond'
    from jsonb_to_recordset(${rowset(unsent)}::text::jsonb) as unsent (consumer text, "eventId" uuid)
    where r.event_id = unsent."eventId" and r.consumer = unsent.consumer
      and r.event_id = any(${uuids(unsent.map(({ eventId }) => eventId))}::text::uuid[]) -- by the index`;
}

/** In how many milliseconds the next retry is due: 0 when one is overdue, null when none waits. */
export async function readNextDue(sql: Queryable): Promise<number | null> {
  const [row] = await sql<{ ms: number | null }[]>`
    select (extract(epoch from min(due_at) - clock_timestamp()) * 1000)::float8 as ms
    from delayed_retries where due_at is not null`;
  return row?.ms == null ? null : Math.max(row.ms, 0); // not by greatest(), which takes 0 for greater than null
}

/** How many retries wait, by consumer; with `atMost`, no more than so many are counted. */
export async function countWaitingRetries(
  sql: Queryable,
  atMost: number | null = null,
): Promise<{ consumer: string; count: number }[]> {
  return await sql<{ consumer: string; count: number }[]>`
    select consumer, count(*)::int as count
    from (select consumer from delayed_retries where due_at is not null limit ${atMost}) as waiting
    group by consumer`;
}
