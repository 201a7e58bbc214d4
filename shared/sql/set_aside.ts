// What a consumer sets aside so that the queue flows on: dead letters, exactly as they were received; events that
// failed for now, and when they are due again; and which of the messages in a dying worker's hands may have killed it.

import { v7 as uuidv7 } from "uuid";
import { type Queryable, rowset, type Sql, storableText, uuids } from "./connect.ts";
import { announceRetries } from "./outbox.ts";

/** A message, its body byte for byte, of a consumer, whose name is its queue's. What of the event is null, it does not say. */
interface Message<Said extends string | null> {
  readonly consumer: string;
  readonly eventId: Said;
  readonly eventType: Said;
  readonly aggregateId: Said;
  readonly correlationId: Said;
  readonly traceparent: string | null;
  readonly tracestate?: string | null | undefined;
  readonly body: Uint8Array;
}

/** A message that is given up on. */
export interface NewDeadLetter extends Message<string | null> {
  /** How many bytes it had, where the body is only its beginning. */
  readonly cutFrom?: number | null;
  /** Whether the body is no event, although its id may be that of one. */
  readonly isMalformed?: boolean;
  /** Why, in a few fixed words, such as `retries exhausted`. */
  readonly reason: string;
  /** Why, in full; the first 2,000 characters are kept. */
  readonly detail: string;
  /** At this delivery, the first one included. */
  readonly attempts: number;
}

/** Characters of a detail that tell one kind of failure from another. */
export const PATTERN_LENGTH = 200;

/**
 * What a detail has in common with others of its kind: its beginning, with `…` for each id, for what stands in quotes, and for
 * each number.
 */
export function patternOf(detail: string): string {
  return detail.slice(0, 10 * PATTERN_LENGTH)
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/gi, "…")
    .replace(/"(\\.|[^"\\])*"|(?<!\w)'[^']*'(?!\w)|`[^`]*`/g, "…")
    .replace(/\b(0x)?[0-9][0-9a-f.,:_TZ-]*\b/gi, "…")
    .slice(0, PATTERN_LENGTH).toWellFormed();
}

/**
 * Keeps messages, in one statement. A message that is kept already, because a worker was killed between this and its
 * ack, is counted on the open letter it has instead of becoming a second one. They are written in the order of their
 * bodies, so that two copies that keep the same letters wait for one another in one direction only.
 */
export async function insertDeadLetters(sql: Queryable, letters: readonly NewDeadLetter[]): Promise<void> {
  const unique = new Map(letters.map((letter) => [`${letter.consumer} ${letter.body.toBase64()}`, letter]));
  const rows = [...unique.values()].map((letter) => ({
    ...letter,
    id: uuidv7(),
    body: letter.body.toBase64(),
    eventType: letter.eventType === null ? null : storableText(letter.eventType),
    detail: storableText(letter.detail),
    pattern: patternOf(storableText(letter.detail)),
  }));
  if (rows.length === 0) return;
  await sql`
    insert into dead_letters (
      id, consumer, event_id, event_type, order_id, correlation_id, traceparent, tracestate, body, cut_from, is_malformed, reason, detail,
      pattern, attempts, first_failed_at, last_failed_at
    )
    select "id", "consumer", "eventId", "eventType", "aggregateId", "correlationId", "traceparent", "tracestate",
           decode("body", 'base64'), "cutFrom", coalesce("isMalformed", false), "reason", left("detail", 2000), "pattern", "attempts", now(), now()
    from jsonb_to_recordset(${rowset(rows)}::text::jsonb) as new (
      "id" uuid, "consumer" text, "eventId" uuid, "eventType" text, "aggregateId" uuid, "correlationId" text,
      "traceparent" text, "tracestate" text, "body" text, "cutFrom" integer, "isMalformed" boolean, "reason" text, "detail" text, "pattern" text, "attempts" integer
    )
    order by "consumer", "body"
    on conflict (consumer, fingerprint) where state = 'OPEN' do update
    set attempts = dead_letters.attempts + excluded.attempts, reason = excluded.reason, detail = excluded.detail,
        pattern = excluded.pattern, last_failed_at = greatest(dead_letters.last_failed_at, excluded.last_failed_at)`;
}

/** An event that its consumer is to get again. */
export interface NewRetry extends Message<string> {
  /** What the attempt met with; the first 2,000 characters are kept. */
  readonly error: string;
  /** Those spent so far, the one to come included if it counts. */
  readonly retries: number;
  /** How long ago its consumer first looked at it. */
  readonly ageMs: number;
  /** When it is due, from now. */
  readonly delayMs: number;
}

/**
 * Keeps events until they are due, in one statement. An event that is kept already, because a worker was killed between
 * this and its ack or because it was delivered twice, stays one: with the higher count of retries. One that has been sent
 * since counts anew, by what its message says: a dead letter that is redriven comes without a past, and has all retries.
 */
export async function insertRetries(sql: Queryable, retries: readonly NewRetry[]): Promise<void> {
  const unique = new Map(retries.map((retry) => [`${retry.consumer} ${retry.eventId}`, retry]));
  const rows = [...unique.values()].map((retry) => ({
    ...retry,
    body: retry.body.toBase64(),
    error: storableText(retry.error),
  }));
  if (rows.length === 0) return;
  await sql`
    insert into delayed_retries as known (
      consumer, event_id, event_type, order_id, correlation_id, traceparent, tracestate, body, error, retries, first_seen_at,
      last_failed_at, due_at
    )
    select "consumer", "eventId", "eventType", "aggregateId", "correlationId", "traceparent", "tracestate",
           decode("body", 'base64'),
           left("error", 2000), "retries", now() - "ageMs" * interval '1 millisecond', now(),
           now() + "delayMs" * interval '1 millisecond'
    from jsonb_to_recordset(${rowset(rows)}::text::jsonb) as new (
      "consumer" text, "eventId" uuid, "eventType" text, "aggregateId" uuid, "correlationId" text, "traceparent" text, "tracestate" text,
      "body" text, "error" text, "retries" integer, "ageMs" float8, "delayMs" integer
    )
    order by "eventId"
    on conflict (event_id, consumer) do update
    set error = excluded.error,
        retries = case when known.due_at is null then excluded.retries else greatest(known.retries, excluded.retries) end,
        first_seen_at = case when known.due_at is null then excluded.first_seen_at
                             else least(known.first_seen_at, excluded.first_seen_at) end,
        last_failed_at = greatest(known.last_failed_at, excluded.last_failed_at), due_at = excluded.due_at`;
}

export type DueRetry = Omit<NewRetry, "aggregateId" | "error" | "delayMs">;

/** Bytes of bodies that are claimed at once; the first retry is, whatever it has. */
const CLAIMED_BYTES = 16 << 20;

/**
 * Claims up to `limit` retries that are due, the longest due first, by locking them until the transaction ends; fewer where
 * their bodies are large.
 */
export async function claimDueRetries(sql: Queryable, limit: number): Promise<DueRetry[]> {
  return await sql<DueRetry[]>`
    with claimed as materialized (
      select * from delayed_retries where due_at <= now()
      order by due_at limit ${limit}
      for update skip locked
    ), sized as (
      select *, sum(octet_length(body)) over (order by due_at, event_id, consumer) - octet_length(body) as before from claimed
    )
    select consumer, event_id as "eventId", event_type as "eventType", correlation_id as "correlationId", traceparent,
           tracestate, body, retries,
           greatest(extract(epoch from clock_timestamp() - first_seen_at) * 1000, 0)::float8 as "ageMs"
    from sized where before < ${CLAIMED_BYTES} order by due_at`;
}

type RetryKey = Pick<DueRetry, "consumer" | "eventId">;

/** Notes that retries have been sent by this transaction, and when, in one statement; the history has its beginning, which is before that. */
export async function markRetriesSent(sql: Queryable, sent: readonly RetryKey[]): Promise<void> {
  if (sent.length === 0) return;
  await sql`
    with sent as (
      update delayed_retries r set due_at = null, sent_at = clock_timestamp() ${amongRetries(sql, sent)}
      returning r.event_id, r.consumer
    )
    insert into event_history (event_id, consumer, kind, at) select event_id, consumer, 'retried', now() from sent`;
}

/** Makes retries that could not be sent due once more after `delayMs`, in one statement. */
export async function postponeRetries(
  sql: Queryable,
  unsent: readonly RetryKey[],
  delayMs: number,
): Promise<void> {
  if (unsent.length === 0) return;
  await sql`
    update delayed_retries r set due_at = clock_timestamp() + ${delayMs}::int * interval '1 millisecond'
    ${amongRetries(sql, unsent)}`;
}

function amongRetries(sql: Queryable, retries: readonly RetryKey[]) {
  const keys = retries.map(({ consumer, eventId }) => ({ consumer, eventId }));
  return sql`
    from jsonb_to_recordset(${rowset(keys)}::text::jsonb) as given (consumer text, "eventId" uuid)
    where r.event_id = given."eventId" and r.consumer = given.consumer
      and r.event_id = any(${uuids(keys.map(({ eventId }) => eventId))}::text::uuid[]) -- by the index`;
}

/** In how many milliseconds the next retry is due: 0 when one is overdue, null when none waits. */
export async function readNextDue(sql: Queryable): Promise<number | null> {
  const [row] = await sql<{ ms: number | null }[]>`
    select (extract(epoch from min(due_at) - clock_timestamp()) * 1000)::float8 as ms
    from delayed_retries where due_at is not null`;
  return row?.ms == null ? null : Math.max(row.ms, 0); // not by greatest(), which takes 0 for greater than null
}

/** How many retries wait, by consumer; no more than `atMost` are counted. */
export async function countWaitingRetries(
  sql: Queryable,
  atMost: number | null = null,
): Promise<{ consumer: string; count: number }[]> {
  return await sql<{ consumer: string; count: number }[]>`
    select consumer, count(*)::int as count
    from (select consumer from delayed_retries where due_at is not null limit ${atMost}) as waiting
    group by consumer`;
}

/** What a consumer sets aside outside of its process. It acks a message only once that is kept. */
export type SetAside = ReturnType<typeof createSetAside>;

/**
 * What the consumer named `consumer` sets aside, on `sql`. Suspects are messages that are taken up alone, because they may
 * kill their worker: `countSuspect` counts that and answers with how often it was; to be committed before the message is
 * looked at, so that the count stays if that kills the worker. `uncountSuspect` takes one back, for a message that the
 * worker has survived and will look at again; `clearSuspect` forgets one that is settled.
 */
export function createSetAside(sql: Sql, consumer: string) {
  const sha256 = (body: Uint8Array) => sql`sha256(decode(${body.toBase64()}, 'base64'))`;
  const isThis = (body: Uint8Array) => sql`consumer = ${consumer} and fingerprint = ${sha256(body)}`;
  return {
    keepDeadLetters: (letters: readonly NewDeadLetter[]) => insertDeadLetters(sql, letters),
    async keepRetries(retries: readonly NewRetry[]): Promise<void> {
      await insertRetries(sql, retries);
      await announceRetries(sql);
    },
    async countSuspect(body: Uint8Array): Promise<number> {
      const [row] = await sql<{ attempts: number }[]>`
        insert into suspect_deliveries (consumer, fingerprint, attempts, last_at)
        values (${consumer}, ${sha256(body)}, 1, now())
        on conflict (consumer, fingerprint) do update
        set attempts = suspect_deliveries.attempts + 1, last_at = now()
        returning attempts`;
      return row?.attempts ?? 1;
    },
    async uncountSuspect(body: Uint8Array): Promise<void> {
      await sql`
        with last as (delete from suspect_deliveries where ${isThis(body)} and attempts = 1)
        update suspect_deliveries set attempts = attempts - 1 where ${isThis(body)} and attempts > 1`;
    },
    async clearSuspect(body: Uint8Array): Promise<void> {
      await sql`delete from suspect_deliveries where ${isThis(body)}`;
    },
  };
}
