// The table `dead_letters`: what a consumer could not process, exactly as it was received, with the reason.

import { type Queryable, type Statement, uuids } from "../sql/connect.ts";
import { PATTERN_LENGTH } from "../sql/set_aside.ts";
import type { DeadLetterJson, LetterGroupJson, Row } from "./answers.ts";

export const LETTER_STATES = ["OPEN", "REDRIVEN", "DISCARDED"] as const;

/**
 * A dead letter as ops shows it. Of the body it has the beginning; bytes that are not UTF-8 are shown as replacement
 * characters; `detail` has up to 2,000 characters; `attempts` counts over all the deliveries that ended in this letter.
 */
export type DeadLetterRow = Row<DeadLetterJson>;

/** Which letters are meant: those that match all that is given. `from` and `to` bound when they were last given up on. */
export interface LetterSelection {
  readonly ids?: readonly string[] | undefined;
  readonly consumer?: string | undefined;
  readonly reason?: string | undefined;
  /** Of the detail, as a group has it. */
  readonly pattern?: string | undefined;
  readonly type?: string | undefined;
  readonly orderId?: string | undefined;
  readonly from?: Date | undefined;
  /** Not included. */
  readonly to?: Date | undefined;
}

/** Bytes of a body that are read for a list, and for one letter alone: a page stays small, however large the letters are. */
const LISTED_BYTES = 4096;
const SHOWN_BYTES = 1 << 20;

/**
 * Up to `limit` dead letters, newest first, with the first 4 KiB of their bodies; `before` goes on behind the one with this id.
 */
export async function listDeadLetters(
  sql: Queryable,
  { limit, before, state, ...selection }: LetterSelection & {
    readonly limit: number;
    readonly before?: string | undefined;
    readonly state?: DeadLetterRow["state"] | undefined;
  },
): Promise<DeadLetterRow[]> {
  const rows = await sql<RawRow[]>`
    select ${columns(sql, LISTED_BYTES)} from dead_letters where true
    ${before ? sql`and id < ${before}` : sql``}
    ${state ? sql`and state = ${state}` : sql``}
    ${matchingLetters(sql, selection)}
    order by id desc limit ${limit}`;
  return rows.map(withText);
}

/** The dead letter `id`, with the first MiB of its body, or undefined. */
export async function findDeadLetter(sql: Queryable, id: string): Promise<DeadLetterRow | undefined> {
  const [row] = await sql<RawRow[]>`select ${columns(sql, SHOWN_BYTES)} from dead_letters where id = ${id}`;
  return row && withText(row);
}

type RawRow = Omit<DeadLetterRow, "body" | "editedBody"> & {
  readonly body: Uint8Array;
  readonly editedBody: Uint8Array | null;
};

function withText(row: RawRow): DeadLetterRow {
  const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { ...row, body: textOf(row.body), editedBody: row.editedBody && textOf(row.editedBody) };
}

function columns(sql: Queryable, bytes: number) {
  return sql`
    id, consumer, event_id as "eventId", event_type as "eventType", order_id as "orderId",
    correlation_id as "correlationId", substring(body for ${bytes}::int) as body,
    coalesce(cut_from, octet_length(body)) as "bodyBytes", reason, detail, attempts, state,
    first_failed_at as "firstFailedAt", last_failed_at as "lastFailedAt", resolved_at as "resolvedAt", resolution,
    substring(edited_body for ${bytes}::int) as "editedBody"`;
}

/** The pattern of a letter; of one that an earlier version wrote, the beginning of its detail. */
const patternOf = (sql: Queryable) => sql`coalesce(pattern, left(detail, ${PATTERN_LENGTH}::int))`;

/** Letters that are grouped at most, the newest ones. */
const MAX_GROUPED = 100_000;

/**
 * Open letters that match, in groups of those that failed alike: by consumer, reason and pattern of the detail. Up to 100
 * groups, those with the newest failures first. A letter has `failedAgain` where its event, or the same bytes, had been
 * redriven to that consumer before.
 */
export async function groupLetters(
  sql: Queryable,
  selection: LetterSelection,
): Promise<Row<LetterGroupJson>[]> {
  const [pattern, matching] = [patternOf(sql), matchingLetters(sql, selection)];
  return await sql<Row<LetterGroupJson>[]>`
    select consumer, reason, pattern, count(*)::int as count, min(first_failed_at) as "firstFailedAt",
           max(last_failed_at) as "lastFailedAt", max(id::text)::uuid as "newestId",
           count(*) filter (where exists (
             select from dead_letters r where r.event_id = open.event_id and r.consumer = open.consumer and r.state = 'REDRIVEN'
           ) or exists (
             select from dead_letters r where r.fingerprint = open.fingerprint and r.consumer = open.consumer
               and r.state = 'REDRIVEN'))::int as "failedAgain"
    from (
      select id, consumer, reason, ${pattern} as pattern, event_id, fingerprint, first_failed_at, last_failed_at
      from dead_letters where state = 'OPEN' ${matching} order by id desc limit ${MAX_GROUPED}
    ) as open
    group by consumer, reason, pattern order by "lastFailedAt" desc limit 100`;
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

/**
 * An open letter that is about to be sent to its consumer again, its body exactly as it was received, or not at all where
 * that was `cut`: it is not there any more. `processed` says that its consumer has processed the event meanwhile: then
 * there is nothing left to do.
 */
export type ClaimedLetter = Pick<DeadLetterRow, "id" | "consumer" | "eventType" | "correlationId"> & {
  readonly traceparent: string | null;
  readonly tracestate: string | null;
  /** Null where this transaction has enough to send without it. */
  readonly body: Uint8Array | null;
  readonly isCut: boolean;
  readonly processed: boolean;
};

/** Bytes of bodies that are claimed at once; the first letter is, whatever it has. */
const CLAIMED_BYTES = 16 << 20;

/**
 * Claims those of the letters `ids` that are open, oldest first, by locking them until the transaction ends; fewer where
 * their bodies are large. One that somebody else holds is passed over.
 */
export async function claimOpenLetters(sql: Queryable, ids: readonly string[]): Promise<ClaimedLetter[]> {
  return await sql<ClaimedLetter[]>`
    with claimed as materialized (
      select * from dead_letters where state = 'OPEN' and id = any(${uuids(ids)}::text::uuid[])
      order by id for update skip locked
    ), sized as (
      select *, sum(octet_length(body)) over (order by id) - octet_length(body) as before from claimed
    )
    select id, consumer, event_type as "eventType", correlation_id as "correlationId",
           coalesce(traceparent, (select e.traceparent from outbox_events e where e.id = d.event_id)) as traceparent, tracestate,
           case when before < ${CLAIMED_BYTES} then body end as body, cut_from is not null as "isCut",
           exists (select from processed_events p where p.event_id = d.event_id and p.consumer = d.consumer) as processed
    from sized d order by id`;
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

/** Keeps what was sent in the place of a letter's body. */
export async function keepEdit(sql: Queryable, id: string, body: string): Promise<void> {
  await sql`update dead_letters set edited_body = convert_to(${body}, 'UTF8') where id = ${id}`;
}

/** The conditions of a selection, to be put behind another one. */
export function matchingLetters(
  sql: Queryable,
  { ids, consumer, reason, pattern, type, orderId, from, to }: LetterSelection,
): Statement {
  return sql`
    ${ids ? sql`and id = any(${uuids(ids)}::text::uuid[])` : sql``}
    ${consumer ? sql`and consumer = ${consumer}` : sql``}
    ${reason ? sql`and reason = ${reason}` : sql``}
    ${pattern === undefined ? sql`` : sql`and ${patternOf(sql)} = ${pattern}`}
    ${type ? sql`and event_type = ${type}` : sql``}
    ${orderId ? sql`and order_id = ${orderId}` : sql``}
    ${from ? sql`and last_failed_at >= ${from}` : sql``}
    ${to ? sql`and last_failed_at < ${to}` : sql``}`;
}
