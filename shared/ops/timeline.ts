// The stories of orders, read across the modules' tables. For ops alone.

import { type Sql, uuids } from "../sql/connect.ts";
import { decideTransition, isOrderTrigger, type OrderStatus } from "../order_status.ts";
import type { OrderRow } from "../sql/orders.ts";
import { traceIdOf } from "../process/tracing.ts";
import type { Row, TimelineEntryJson } from "./answers.ts";

/** One thing that happened to an order. */
export type TimelineEntry = Row<TimelineEntryJson>;
type Kind = TimelineEntry["kind"];

/** A row of a table, or one time in it, about an order; what a kind has no use for is null. */
export interface Fact {
  readonly orderId: string;
  readonly kind: Exclude<Kind, "status">;
  readonly at: Date;
  readonly eventId: string | null;
  readonly eventType: string | null;
  /** Of the event; null for what is not in the outbox. */
  readonly traceparent: string | null;
  readonly consumer: string | null;
  /** Of a publication, how often it was refused before; of a duplicate or a retry, which one it is; of `taken`, for how many ms. */
  readonly count: number | null;
  /** Of a retry, what the attempt met with; of a dead letter, the reason. */
  readonly detail: string | null;
  readonly deadLetterId: string | null;
  readonly dueAt: Date | null;
}

/** Facts of one order at most: whoever can send messages can have an event repeated, or given up on, without end. */
const MAX_FACTS = 1000;

/**
 * What is known of the orders `orderIds`, in one statement: each time that any table has of them. Of an order with too many,
 * the ways of its events, and the newest of the rest.
 */
export async function readFacts(sql: Sql, orderIds: readonly string[]): Promise<Fact[]> {
  const ids = sql`any(${uuids(orderIds)}::text::uuid[])`;
  return await sql<Fact[]>`
    with events as materialized (
      select id, type, order_id, traceparent, occurred_at, published_at, retry_count from outbox_events where order_id = ${ids}
    ),
    history as (
      select e.*, h.consumer, h.kind, h.at, h.detail,
             case kind when 'duplicate' then row_number() over times else count end::int as count,
             lead(at) over times is null as is_last
      from events e join event_history h on event_id = id window times as (partition by id, h.consumer, kind order by at)
    ),
    facts (order_id, event_id, event_type, kind, at, consumer, count, detail, letter, due_at) as (
      select order_id, id, type, 'emitted', occurred_at, null, null, null, null::uuid, null::timestamptz from events
      union all
      select order_id, id, type, 'published', published_at, null, retry_count, null, null, null from events
      union all
      select order_id, id, type, 'processed', processed_at, consumer, null, null, null, null
      from events join processed_events on event_id = id
      union all
      select h.order_id, id, type, kind, at, h.consumer, count, detail, null, case when kind = 'retry' and is_last then due_at end
      from history h left join delayed_retries r on event_id = id and r.consumer = h.consumer
      union all
      select order_id, e.id, type, 'replayed', settled_at, consumer, null, null, null, null
      from events e join replay_events m on m.event_id = e.id
      where result = 'SENT' and letter_id is null
      union all -- of before there was a history, the last time alone is known
      select order_id, id, type, 'duplicate', last_duplicate_at, consumer, duplicates, null, null, null
      from events e join processed_events p on event_id = id
      where not exists (select from history h where h.id = e.id and h.consumer = p.consumer and kind = 'duplicate')
      union all
      select order_id, event_id, event_type, 'retry', last_failed_at, consumer, retries, error, null, due_at
      from delayed_retries r where order_id = ${ids}
        and not exists (select from history h where h.id = r.event_id and h.consumer = r.consumer and kind = 'retry')
      union all
      select order_id, event_id, event_type, 'dead-letter', last_failed_at, consumer, null, reason, id, null
      from dead_letters where order_id = ${ids}
      union all
      select d.order_id, d.event_id, event_type, lower(state), coalesce(m.settled_at, resolved_at), d.consumer, null, null, id, null
      from dead_letters d left join replay_events m
        on m.event_id = coalesce(d.event_id, id) and m.letter_id = id and result = 'SENT'
      where d.order_id = ${ids}
    )
    select f.order_id as "orderId", f.event_id as "eventId", event_type as "eventType", kind, at, consumer, count, detail,
           letter as "deadLetterId", due_at as "dueAt", e.traceparent
    from (
      select *, row_number() over (
        partition by order_id order by kind in ('emitted', 'published', 'processed') desc, at desc) as place
      from facts where at is not null
    ) as f left join events e on e.id = f.event_id
    where place <= ${MAX_FACTS}
    order by f.event_id, at, consumer`;
}

/** Reads timelines, by order id: one query for any number of orders. */
export type ReadTimelines = (
  orders: readonly Pick<OrderRow, "id" | "createdAt">[],
) => Promise<Map<string, TimelineEntry[]>>;

/** Makes a reader of timelines. `orderConsumers` names the orders module's consumers, whose processing moves an order. */
export function createTimelineReader(sql: Sql, orderConsumers: readonly string[]): ReadTimelines {
  return async (orders) => {
    const facts = await readFacts(sql, orders.map(({ id }) => id));
    const byOrder = Map.groupBy(facts, ({ orderId }) => orderId);
    return new Map(orders.map((order) => {
      return [order.id, buildTimeline(order, byOrder.get(order.id) ?? [], orderConsumers)];
    }));
  };
}

/** Within one instant: what a consumer did, then what that changed, then what came of it. */
const ORDER: readonly Kind[] = [
  "taken",
  "redelivered",
  "processed",
  "status",
  "emitted",
  "published",
  "duplicate",
  "retry",
  "dead-letter",
  "retried",
  "resent",
  "replayed",
  "redriven",
  "discarded",
];

/**
 * Tells the story of `facts`, which are sorted by event, oldest entry first. Where two entries have the same time, causes
 * stand before their effects.
 */
export function buildTimeline(
  order: Pick<OrderRow, "createdAt">,
  facts: readonly Fact[],
  orderConsumers: readonly string[],
): TimelineEntry[] {
  const created = facts.find(({ eventType }) => eventType === "order.created");
  const traceId = traceIdOf(created?.traceparent ?? null);
  const about = { eventId: null, eventType: null, traceId };
  const entries: TimelineEntry[] = [
    { at: order.createdAt, kind: "status", from: null, to: "PENDING", ...about },
    ...facts.map(entryOf),
    ...statusChanges(facts, orderConsumers),
  ];
  return entries.sort((a, b) =>
    a.at.getTime() - b.at.getTime() || ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind)
  );
}

function entryOf(fact: Fact): TimelineEntry {
  const { kind, at, eventId, eventType, count, detail, dueAt } = fact;
  const about = { at, eventId, eventType, traceId: traceIdOf(fact.traceparent) };
  const consumer = fact.consumer ?? "";
  const deadLetterId = fact.deadLetterId ?? "";
  switch (kind) {
    case "emitted":
      return { kind, ...about };
    case "published":
      return { kind, ...about, retryCount: count ?? 0 };
    case "duplicate":
      return { kind, ...about, consumer, duplicates: count ?? 0 };
    case "taken":
      return { kind, ...about, consumer, heldMs: count ?? 0 };
    case "retry":
      return { kind, ...about, consumer, retries: count ?? 0, error: detail ?? "", dueAt };
    case "dead-letter":
      return { kind, ...about, consumer, reason: detail ?? "", deadLetterId };
    case "redriven":
    case "discarded":
      return { kind, ...about, consumer, deadLetterId };
    default:
      return { kind, ...about, consumer };
  }
}

function statusChanges(facts: readonly Fact[], orderConsumers: readonly string[]): TimelineEntry[] {
  const applied = facts.filter(({ kind, consumer }) =>
    kind === "processed" && orderConsumers.includes(consumer ?? "")
  );
  return movesOf(applied).map(({ from, to, by: { eventId, eventType, traceparent, at } }) => {
    return { kind: "status", from, to, eventId, eventType, traceId: traceIdOf(traceparent), at };
  });
}

/**
 * The way through the state machine of an order to which these events were applied, by the same decision that the workers
 * made. Not by the clock: two workers' clocks differ, and only one order of the events is legal.
 */
export function movesOf<E extends { readonly eventType: string | null }>(applied: readonly E[]) {
  const moves: { readonly from: OrderStatus; readonly to: OrderStatus; readonly by: E }[] = [];
  for (let from: OrderStatus = "PENDING";;) {
    const [move] = applied.flatMap((by) => {
      const decision = by.eventType && isOrderTrigger(by.eventType) && decideTransition(from, by.eventType);
      return decision && decision.kind === "move" ? [{ from, to: decision.to, by }] : [];
    });
    if (!move) return moves;
    moves.push(move);
    from = move.to;
  }
}
