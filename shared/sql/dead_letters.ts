/**
 * The table `dead_letters`: what a consumer could not process, exactly as it was received, with the reason.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import { type Queryable, rowset } from "./connect.ts";

/** A message that is given up on. */
export interface NewDeadLetter {
  readonly consumer: string;
  /** What could be read of the event; null where the body does not say. */
  readonly eventId: string | null;
  readonly eventType: string | null;
  readonly orderId: string | null;
  readonly correlationId: string | null;
  readonly body: Uint8Array;
  readonly reason: string;
  readonly detail: string;
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
  readonly id: string;
  readonly consumer: string;
  readonly eventId: string | null;
  readonly eventType: string | null;
  readonly orderId: string | null;
  readonly correlationId: string | null;
  /** The body as text; bytes that are not UTF-8 are shown as replacement characters. */
  readonly body: string;
  readonly reason: string;
  readonly detail: string;
  readonly attempts: number;
  readonly state: "OPEN" | "REDRIVEN" | "DISCARDED";
  readonly firstFailedAt: Date;
  readonly lastFailedAt: Date;
}

/** Up to `limit` dead letters, newest first, of one order where that is given. */
export async function listDeadLetters(
  sql: Queryable,
  { limit, orderId }: { readonly limit: number; readonly orderId?: string | undefined },
): Promise<DeadLetterRow[]> {
  const rows = await sql<(Omit<DeadLetterRow, "body"> & { body: Uint8Array })[]>`
    select id, consumer, event_id as "eventId", event_type as "eventType", order_id as "orderId",
           correlation_id as "correlationId", body, reason, detail, attempts, state,
           first_failed_at as "firstFailedAt", last_failed_at as "lastFailedAt"
    from dead_letters ${orderId ? sql`where order_id = ${orderId}` : sql``}
    order by id desc limit ${limit}`;
  return rows.map((row) => ({ ...row, body: new TextDecoder().decode(row.body) }));
}
