/**
 * The table `dead_letters`: what a consumer could not process, exactly as it was received, with the reason.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import { type Queryable, rowset } from "./connect.ts";

/** A message that is given up on. */
export interface NewDeadLetter {
  /** Who gave up on it: the consumer's name, which is its queue's. */
  readonly consumer: string;
  /** What could be read of the event; null where the body does not say. */
  readonly eventId: string | null;
  /** The event's type; null where the body is no valid event. */
  readonly eventType: string | null;
  /** The order that the event is about; null where the body is no valid event. */
  readonly orderId: string | null;
  /** The event's correlation id; null where the body is no valid event. */
  readonly correlationId: string | null;
  /** The message's body, byte for byte. */
  readonly body: Uint8Array;
  /** Why, in a few fixed words, such as `retries exhausted`. */
  readonly reason: string;
  /** Why, in full; the first 2,000 characters are kept. */
  readonly detail: string;
  /** Attempts at this delivery, the first one included. */
  readonly attempts: number;
}

/**
 * Keeps messages, in one statement. A message that is kept already, because a worker was killed between this and its
 * ack, is counted on the open letter it has instead of becoming a second one.
 */
export async function insertDeadLetters(
  sql: Queryable,
  letters: readonly NewDeadLetter[],
  now: Date,
): Promise<void> {
  const unique = new Map(letters.map((letter) => [`${letter.consumer} ${letter.body.toBase64()}`, letter]));
  const rows = [...unique.values()].map((letter) => ({
    ...letter,
    id: uuidv7(),
    body: letter.body.toBase64(),
    detail: withoutNul(letter.detail),
  }));
  if (rows.length === 0) return;
  await sql`
    insert into dead_letters (
      id, consumer, event_id, event_type, order_id, correlation_id, body, reason, detail, attempts,
      first_failed_at, last_failed_at
    )
    select "id", "consumer", "eventId", "eventType", "orderId", "correlationId", decode("body", 'base64'),
           "reason", left("detail", 2000), "attempts", ${now}, ${now}
    from jsonb_to_recordset(${rowset(rows)}::text::jsonb) as new (
      "id" uuid, "consumer" text, "eventId" uuid, "eventType" text, "orderId" uuid, "correlationId" text,
      "body" text, "reason" text, "detail" text, "attempts" integer
    )
    on conflict (consumer, fingerprint) where state = 'OPEN' do update
    set attempts = dead_letters.attempts + excluded.attempts, reason = excluded.reason, detail = excluded.detail,
        last_failed_at = greatest(dead_letters.last_failed_at, excluded.last_failed_at)`;
}

/** Postgres' text cannot hold a NUL, and what a stranger sent may be quoted in the detail. */
function withoutNul(text: string): string {
  return text.replaceAll("\0", "\u{FFFD}");
}

/** A dead letter as ops shows it. */
export interface DeadLetterRow {
  /** The letter's own id, a version 7 uuid: the newest letter has the highest. */
  readonly id: string;
  /** Who gave up on it: the consumer's name, which is its queue's. */
  readonly consumer: string;
  /** The event's id; null where the body is no valid event. */
  readonly eventId: string | null;
  /** The event's type; null where the body is no valid event. */
  readonly eventType: string | null;
  /** The order that the event is about; null where the body is no valid event. */
  readonly orderId: string | null;
  /** The event's correlation id; null where the body is no valid event. */
  readonly correlationId: string | null;
  /** The body as text; bytes that are not UTF-8 are shown as replacement characters. */
  readonly body: string;
  /** Why, in a few fixed words, such as `retries exhausted`. */
  readonly reason: string;
  /** Why, in full, up to 2,000 characters. */
  readonly detail: string;
  /** Attempts so far, over all the deliveries that ended in this letter. */
  readonly attempts: number;
  /** `OPEN` until somebody has it redriven or discards it. */
  readonly state: "OPEN" | "REDRIVEN" | "DISCARDED";
  /** When the message was first given up on. */
  readonly firstFailedAt: Date;
  /** When it was last given up on: later than the first time only where it was delivered again. */
  readonly lastFailedAt: Date;
}

/** What `listDeadLetters` filters by. */
export interface DeadLetterFilter {
  /** The most rows to read. */
  readonly limit: number;
  /** Only letters older than the one with this id. */
  readonly before?: string | undefined;
  /** Only letters about this order. */
  readonly orderId?: string | undefined;
  /** Only letters of this consumer. */
  readonly consumer?: string | undefined;
}

/** Up to `limit` dead letters, newest first. */
export async function listDeadLetters(sql: Queryable, filter: DeadLetterFilter): Promise<DeadLetterRow[]> {
  const { limit, before, orderId, consumer } = filter;
  const rows = await sql<(Omit<DeadLetterRow, "body"> & { body: Uint8Array })[]>`
    select id, consumer, event_id as "eventId", event_type as "eventType", order_id as "orderId",
           correlation_id as "correlationId", body, reason, detail, attempts, state,
           first_failed_at as "firstFailedAt", last_failed_at as "lastFailedAt"
    from dead_letters where true
    ${before ? sql`and id < ${before}` : sql``}
    ${orderId ? sql`and order_id = ${orderId}` : sql``}
    ${consumer ? sql`and consumer = ${consumer}` : sql``}
    order by id desc limit ${limit}`;
  return rows.map((row) => ({ ...row, body: new TextDecoder().decode(row.body) }));
}

/** How many dead letters are open, by consumer. */
export async function countOpenDeadLetters(sql: Queryable): Promise<{ consumer: string; count: number }[]> {
  return await sql<{ consumer: string; count: number }[]>`
    select consumer, count(*)::int as count from dead_letters where state = 'OPEN' group by consumer`;
}
