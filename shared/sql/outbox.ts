// The outbox: `outbox_events`, where an event waits from the transaction that made it true until the broker has it
// (the transactional outbox pattern, https://microservices.io/patterns/data/transactional-outbox.html).

import type { OutgoingEvent } from "../broker/message.ts";
import {
  KEYED_SETTINGS,
  type Queryable,
  rowset,
  type Sql,
  type Statement,
  storableText,
  uuids,
} from "./connect.ts";

/** An event that is to be told once the row with the id `rowId` is stored, or in any case where that is omitted. */
export type EventOfRow = OutgoingEvent & { readonly rowId?: string };

/**
 * The statement that appends events, to be made a part of the one that changes the state they tell of. `where` is a
 * condition on `row_id`.
 */
export function insertingEvents(
  sql: Queryable,
  events: readonly EventOfRow[],
  where: Statement = sql`true`,
): Statement {
  // The order's column is the one place where the outbox is named after what this system is about.
  const rows = events.map(({ event, aggregateId: aggregate_id, traceparent, tracestate, rowId: row_id }) => {
    return { event, aggregate_id, traceparent, tracestate: tracestate ?? undefined, row_id };
  });
  return sql`
    insert into outbox_events (id, type, order_id, correlation_id, traceparent, tracestate, payload, occurred_at)
    select (event ->> 'eventId')::uuid, event ->> 'type', aggregate_id, event ->> 'correlationId', traceparent, tracestate, event,
           (event ->> 'occurredAt')::timestamptz
    from jsonb_to_recordset(${rowset(rows)}::text::jsonb)
      as new (event jsonb, aggregate_id uuid, traceparent text, tracestate text, row_id uuid)
    where ${where}`;
}

export interface ClaimedEvent {
  readonly id: string;
  readonly type: string;
  readonly correlationId: string;
  readonly traceparent: string | null;
  readonly tracestate: string | null;
  readonly occurredAt: Date;
  /** The envelope as JSON text: the relay never parses it. */
  readonly body: string;
  /** How often the broker has refused it so far. */
  readonly retryCount: number;
  readonly isRepublished: boolean;
}

/**
 * The planner settings of a relay's session. Statistics that were taken while the outbox was almost empty make the
 * planner read all of its index and sort it; these leave it one plan, which walks the index in order and stops.
 */
export const CLAIM_SETTINGS = { ...KEYED_SETTINGS, enable_sort: "off", enable_bitmapscan: "off" } as const;

/**
 * Those of the sessions that claim and mark, and do nothing else. The planner would plan each mark anew, for its number of
 * ids: a fifth of the database's time for batches of three (284 µs an event, and 214 with this).
 */
export const RELAY_SETTINGS = { ...CLAIM_SETTINGS, plan_cache_mode: "force_generic_plan" } as const;

/**
 * The statement that claims up to `limit` unpublished events that are due: those never tried by their ids, then those
 * whose backoff is over. The claim is the rows' lock, so it ends with the transaction, however that ends; other relays
 * skip locked rows and take the next ones. With `after`, only events that were never tried and have a higher id: quick
 * where the index still holds many that are published, but ids are not given out in the order of commits, so whoever
 * claims like this must claim without it as well.
 */
export function claimingEvents(
  sql: Queryable,
  limit: number,
  after: string | null = null,
): Statement<ClaimedEvent> {
  const due = after === null
    ? sql`next_attempt_at <= now()`
    : sql`next_attempt_at = '-infinity' and id > ${after}::text::uuid`;
  return sql<ClaimedEvent[]>`
    select ${publishedColumns(sql)}
    from outbox_events
    where published_at is null and ${due}
    order by next_attempt_at, id
    limit ${limit}
    for update skip locked`;
}

/**
 * The events `ids` as they are published, without claiming them: to be sent once more. With `isKept` retention passes over
 * them until the transaction ends.
 */
export async function readEventsForPublishing(
  sql: Queryable,
  ids: readonly string[],
  isKept = false,
): Promise<ClaimedEvent[]> {
  return await sql<ClaimedEvent[]>`
    select ${publishedColumns(sql)} from outbox_events where id = any(${uuids(ids)}::text::uuid[])
    ${isKept ? sql`order by id for key share` : sql``}`;
}

function publishedColumns(sql: Queryable) {
  return sql`
    id, type, correlation_id as "correlationId", traceparent, tracestate, occurred_at as "occurredAt",
    payload::text as body, retry_count as "retryCount", republished_at is not null as "isRepublished"`;
}

/** The statement that marks events as published; what an earlier try met with stays readable beside it. */
export function markingPublished(sql: Queryable, ids: readonly string[]): Statement {
  return sql`
    update outbox_events set published_at = clock_timestamp(), next_attempt_at = '-infinity'
    where id = any(${uuids(ids)}::text::uuid[])`;
}

/** An event that the broker did not take, and when to try again. */
export interface RefusedEvent {
  readonly id: string;
  /** The first 500 characters are kept. */
  readonly error: string;
  readonly retryInMs: number;
}

/** The statement that notes why events could not be published, and when each is due again. */
export function markingRefused(sql: Queryable, refused: readonly RefusedEvent[]): Statement {
  const rows = refused.map((one) => ({ ...one, error: storableText(one.error) })); // the broker's words
  return sql`
    update outbox_events
    set retry_count = retry_count + 1, last_error = left(refused.error, 500),
        next_attempt_at = clock_timestamp() + refused."retryInMs" * interval '1 millisecond'
    from jsonb_to_recordset(${rowset(rows)}::text::jsonb)
      as refused (id uuid, error text, "retryInMs" integer)
    where outbox_events.id = refused.id
      and outbox_events.id = any(${uuids(refused.map(({ id }) => id))}::text::uuid[]) -- by the index`;
}

const CHANNEL = "orderflow_outbox";

/**
 * Between two wake-ups of one process. A transaction that contains a `NOTIFY` commits under a lock that the whole
 * database shares; one small transaction every 10 ms keeps that off the hot path.
 */
const MIN_INTERVAL_MS = 10;

/** Says which of a process's statements wake the relay: the first one, then one in 10 ms at most. */
export interface WakeUps {
  /**
   * Runs a statement; `isDue` says whether it is to wake the relay. One that fails has not, nor has one without a row, so
   * the next one is due.
   */
  carry<Rows extends readonly unknown[]>(run: (isDue: boolean) => Promise<Rows>): Promise<Rows>;
}

/**
 * Makes the wake-ups of one process. What is not due is not lost: the relay looks again 20 ms after it found something,
 * and its poll is the safety net. So a producer needs no timer, and no statement besides the one that it sends anyway.
 */
export function createWakeUps(nowMs: () => number = () => performance.now()): WakeUps {
  let notBeforeMs = -Infinity;
  return {
    async carry(run) {
      const isDue = nowMs() >= notBeforeMs;
      if (isDue) notBeforeMs = nowMs() + MIN_INTERVAL_MS;
      let woken = false;
      try {
        const rows = await run(isDue);
        woken = rows.length > 0;
        return rows;
      } finally {
        if (isDue && !woken) notBeforeMs = -Infinity;
      }
    },
  };
}

/**
 * An expression for the select list of a statement that appends events: it wakes the relay, with that statement's commit,
 * if that is due and the statement answers with any row.
 */
export function wakingRelay(sql: Queryable, isDue: boolean): Statement {
  return sql`case when ${isDue}::boolean then (select pg_notify(${CHANNEL}, '')::text) end`;
}

/**
 * Why the relay is woken: there may be events in the outbox, somebody asks for one pass even of a relay that is switched
 * off, or there are new delayed retries.
 */
export type WakeUp = "events" | "tick" | "retries";

/** Asks the relay for one pass now, even if it is switched off. */
export function tickRelay(sql: Sql): Promise<void> {
  return notify(sql, "tick");
}

/** Tells the relay of new delayed retries, so that it is not late for the first of them. */
export function announceRetries(sql: Sql): Promise<void> {
  return notify(sql, "retries");
}

async function notify(sql: Sql, wakeUp: WakeUp): Promise<void> {
  await sql`select pg_notify(${CHANNEL}, ${wakeUp})`;
}

/**
 * Calls `onWakeUp` after each wake-up, and whenever the connection has been made again, because wake-ups in between are
 * lost. Returns a function that stops listening.
 */
export async function listenForWakeUps(
  sql: Sql,
  onWakeUp: (wakeUp: WakeUp) => void,
): Promise<() => Promise<void>> {
  const { unlisten } = await sql.listen(
    CHANNEL,
    (payload) => onWakeUp(payload === "tick" || payload === "retries" ? payload : "events"),
    () => {
      onWakeUp("events");
      onWakeUp("retries");
    },
  );
  return unlisten;
}

/** The lowest version 7 uuid of an instant: the ids of earlier ones are below it (RFC 9562, section 5.7). */
export function firstIdOf(instant: Date): string {
  const hex = Math.max(instant.getTime(), 0).toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}

/** When the version 7 uuid `id` was made, by the clock of who made it. */
export function timeOfId(id: string): Date {
  return new Date(Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16));
}
