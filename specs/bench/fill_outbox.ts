/**
 * Fills the outbox, millions of rows if need be, with the events that orders would have left there.
 *
 * @module
 */
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import type { Queryable, Sql } from "../../shared/sql/connect.ts";

/** What the outbox is filled with. */
export interface OutboxFill {
  /** How many `order.created` events to add. */
  readonly events: number;
  /** Whether they count as published, each a second after it happened. */
  readonly published: boolean;
  /** When the last one happened; of those before it, {@linkcode FILLED_PER_MS} share each millisecond. */
  readonly until: Date;
  /** Whether the orders are added as well, pending, so that consumers find them; not unless told. */
  readonly orders?: boolean;
}

/** Events in each millisecond of what is filled in: 4,000 orders a second. */
export const FILLED_PER_MS = 4;

/** Rows of one statement: a third of a second of work, far from any time-out on a machine that is busy. */
const CHUNK_ROWS = 20_000;
/** Statements at once: making the rows is the server's work, and each connection has one core for it. */
const LANES = 2;

/**
 * Adds events as orders of the reserved course that succeeds would have left them: ids, times, body and size alike. The
 * ids are version 7, follow from `until` and are in the order of time, so that the same fill makes the same bodies in
 * another database; two fills of one database must not overlap in time.
 *
 * Errors: what the database says, such as that the disk is full or that ids are there already.
 */
export async function fillOutbox(sql: Sql, fill: OutboxFill): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: LANES }, async () => {
    while (next < fill.events) {
      const from = next;
      const to = next = Math.min(from + CHUNK_ROWS, fill.events);
      if (fill.orders) await insertOrders(sql, fill, from, to);
      await insertEvents(sql, fill, from, to);
    }
  }));
}

async function insertOrders(sql: Sql, fill: OutboxFill, from: number, to: number): Promise<void> {
  await sql`
    insert into orders (id, user_id, course_id, amount, correlation_id, created_at, updated_at)
    select order_id, ${SCENARIO_USER}, ${RESERVED_COURSES.success}, 49.90, correlation_id::text, at, at
    from ${madeUp(sql, fill, from, to)}`;
}

async function insertEvents(sql: Sql, fill: OutboxFill, from: number, to: number): Promise<void> {
  await sql`
    insert into outbox_events (id, type, order_id, correlation_id, traceparent, payload, occurred_at, published_at)
    select event_id, 'order.created', order_id, correlation_id::text,
           format('00-%s-%s-01', replace(correlation_id::text, '-', ''), right(md5(n::text), 16)),
           format(
             '{"eventId":"%s","type":"order.created","version":1,"occurredAt":"%s","correlationId":"%s",'
             '"data":{"orderId":"%s","userId":"%s","courseId":"%s","amount":"49.90"}}',
             event_id, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), correlation_id,
             order_id, ${SCENARIO_USER}::text, ${RESERVED_COURSES.success}::text
           )::jsonb,
           at, ${fill.published ? sql`at + interval '1 second'` : sql`null`}
    from ${madeUp(sql, fill, from, to)}`;
}

/**
 * What the rows number `from` to `to - 1` are made of. The second half of an id is a multiple of the row's number, of
 * another factor for each kind of id, with the variant's bit over it: an index sees what it sees of random digits.
 */
function madeUp(sql: Queryable, { events, until }: OutboxFill, from: number, to: number) {
  const firstMs = until.getTime() - Math.floor((events - 1) / FILLED_PER_MS);
  const id = (factor: string) =>
    sql`
    (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(n % ${FILLED_PER_MS}::int), 3, '0')
      || to_hex(${factor}::bigint * (n + 1) | (1::bigint << 63)))::uuid`;
  // Without "offset 0" each use of an id would compute it once more.
  return sql`(
    select n, ${id("68719476767")} as event_id, ${id("68719476831")} as order_id,
           ${id("68719476851")} as correlation_id, to_timestamp(ms / 1000.0) as at
    from (
      select n, ${firstMs}::bigint + n / ${FILLED_PER_MS}::int as ms
      from generate_series(${from}::bigint, ${to - 1}::bigint) as n
    ) as numbers
    offset 0
  ) as made_up`;
}
