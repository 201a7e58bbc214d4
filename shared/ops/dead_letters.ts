/**
 * The table `dead_letters`: what a consumer could not process, exactly as it was received, with the reason.
 *
 * @module
 */
import { type Queryable, uuids } from "../sql/connect.ts";

/** The states of a dead letter. */
export const LETTER_STATES = ["OPEN", "REDRIVEN", "DISCARDED"] as const;

/** One of the states. */
export type LetterState = (typeof LETTER_STATES)[number];

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
  readonly state: LetterState;
  /** When the message was first given up on. */
  readonly firstFailedAt: Date;
  /** When it was last given up on: later than the first time only where it was delivered again. */
  readonly lastFailedAt: Date;
  /** When it was redriven or discarded; null while it is open. */
  readonly resolvedAt: Date | null;
  /** By what reason; null while it is open. */
  readonly resolution: string | null;
}

/** Which letters are meant: those that match all that is given. */
export interface LetterSelection {
  /** Only letters with one of these ids. */
  readonly ids?: readonly string[] | undefined;
  /** Only letters of this consumer. */
  readonly consumer?: string | undefined;
  /** Only letters with this reason. */
  readonly reason?: string | undefined;
  /** Only letters with an event of this type. */
  readonly type?: string | undefined;
  /** Only letters about this order. */
  readonly orderId?: string | undefined;
  /** Only letters that were last given up on at this time or later. */
  readonly from?: Date | undefined;
  /** Only letters that were last given up on before this time. */
  readonly to?: Date | undefined;
}

/** What `listDeadLetters` filters by. */
export interface DeadLetterFilter extends LetterSelection {
  /** The most rows to read. */
  readonly limit: number;
  /** Only letters older than the one with this id. */
  readonly before?: string | undefined;
  /** Only letters in this state. */
  readonly state?: LetterState | undefined;
}

/** Up to `limit` dead letters, newest first. */
export async function listDeadLetters(sql: Queryable, filter: DeadLetterFilter): Promise<DeadLetterRow[]> {
  const { limit, before, state, ...selection } = filter;
  const rows = await sql<RawRow[]>`
    select ${columns(sql)} from dead_letters where true
    ${before ? sql`and id < ${before}` : sql``}
    ${state ? sql`and state = ${state}` : sql``}
    ${matching(sql, selection)}
    order by id desc limit ${limit}`;
  return rows.map(withText);
}

/** The dead letter `id`, or undefined. */
export async function findDeadLetter(sql: Queryable, id: string): Promise<DeadLetterRow | undefined> {
  const [row] = await sql<RawRow[]>`select ${columns(sql)} from dead_letters where id = ${id}`;
  return row && withText(row);
}

type RawRow = Omit<DeadLetterRow, "body"> & { readonly body: Uint8Array };

function withText(row: RawRow): DeadLetterRow {
  return { ...row, body: new TextDecoder().decode(row.body) };
}

function columns(sql: Queryable) {
  return sql`
    id, consumer, event_id as "eventId", event_type as "eventType", order_id as "orderId",
    correlation_id as "correlationId", body, reason, detail, attempts, state,
    first_failed_at as "firstFailedAt", last_failed_at as "lastFailedAt", resolved_at as "resolvedAt", resolution`;
}

/** How many dead letters are open, by consumer; with `atMost`, no more than so many are counted. */
export async function countOpenDeadLetters(
  sql: Queryable,
  atMost: number | null = null,
): Promise<{ consumer: string; count: number }[]> {
  return await sql<{ consumer: string; count: number }[]>`
    select consumer, count(*)::int as count
    from (select consumer from dead_letters where state = 'OPEN' limit ${atMost}) as open group by consumer`;
}

/** An open letter that is about to be sent to its consumer again. */
export interface ClaimedLetter {
  /** The letter's own id. */
  readonly id: string;
  /** Who gets it: its consumer's name, which is its queue's. */
  readonly consumer: string;
  /** The event's type; null where the body does not say. */
  readonly eventType: string | null;
  /** The event's correlation id; null where the body does not say. */
  readonly correlationId: string | null;
  /** W3C trace context; null where the message had none. */
  readonly traceparent: string | null;
  /** The body, exactly as it was received. */
  readonly body: Uint8Array;
  /** Whether its consumer has processed the event meanwhile: then there is nothing left to do. */
  readonly processed: boolean;
}

/** Claims up to `limit` open letters, oldest first, by locking them until the transaction ends. */
export async function claimOpenLetters(
  sql: Queryable,
  selection: LetterSelection,
  limit: number,
): Promise<ClaimedLetter[]> {
  return await sql<ClaimedLetter[]>`
    select id, consumer, event_type as "eventType", correlation_id as "correlationId",
           coalesce(traceparent, (select e.traceparent from outbox_events e where e.id = d.event_id)) as traceparent,
           body, exists (select from processed_events p where p.event_id = d.event_id and p.consumer = d.consumer) as processed
    from dead_letters d where state = 'OPEN' ${matching(sql, selection)}
    order by id limit ${limit}
    for update skip locked`;
}

/** Closes letters, in one statement; `resolution` says by what reason. */
export async function closeLetters(
  sql: Queryable,
  ids: readonly string[],
  state: "REDRIVEN" | "DISCARDED",
  resolution: string,
): Promise<void> {
  if (ids.length === 0) return;
  await sql`
    update dead_letters set state = ${state}, resolved_at = clock_timestamp(), resolution = ${resolution}
    where id = any(${uuids(ids)}::text::uuid[]) and state = 'OPEN'`;
}

/** Discards open letters for the reason given, up to `limit` of them; answers with how many. */
export async function discardLetters(
  sql: Queryable,
  selection: LetterSelection,
  reason: string,
  limit: number,
): Promise<number> {
  const { count } = await sql`
    update dead_letters set state = 'DISCARDED', resolved_at = clock_timestamp(), resolution = ${reason}
    where id in (
      select id from dead_letters where state = 'OPEN' ${matching(sql, selection)}
      order by id limit ${limit} for update skip locked
    )`;
  return count;
}

function matching(sql: Queryable, { ids, consumer, reason, type, orderId, from, to }: LetterSelection) {
  return sql`
    ${ids ? sql`and id = any(${uuids(ids)}::text::uuid[])` : sql``}
    ${consumer ? sql`and consumer = ${consumer}` : sql``}
    ${reason ? sql`and reason = ${reason}` : sql``}
    ${type ? sql`and event_type = ${type}` : sql``}
    ${orderId ? sql`and order_id = ${orderId}` : sql``}
    ${from ? sql`and last_failed_at >= ${from}` : sql``}
    ${to ? sql`and last_failed_at < ${to}` : sql``}`;
}
