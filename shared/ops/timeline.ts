/**
 * The stories of orders, read across the modules' tables. For ops alone.
 *
 * @module
 */
import { type Sql, uuids } from "../sql/connect.ts";
import { decideTransition, isOrderTrigger, type OrderStatus } from "../order_status.ts";
import type { OrderRow } from "../sql/orders.ts";
import { traceIdOf } from "../process/tracing.ts";
import type { Row, TimelineEntryJson } from "./answers.ts";
import type { OutboxEventRow, ProcessedEventRow } from "./lists.ts";

/** One thing that happened to an order. */
export type TimelineEntry = Row<TimelineEntryJson>;

export interface TimelineEvent
  extends Pick<OutboxEventRow, "orderId" | "type" | "traceparent" | "retryCount"> {
  readonly eventId: string;
  readonly occurredAt: Date;
  /** The last publication, which an operator may have asked for. */
  readonly publishedAt: Date | null;
  /** When an operator last asked for another publication; null where none has. */
  readonly republishedAt: Date | null;
  readonly processed: readonly Processing[];
}

interface Processing extends Pick<ProcessedEventRow, "consumer" | "duplicates" | "lastDuplicateAt"> {
  readonly at: Date;
}

interface EventRow extends Omit<TimelineEvent, "processed"> {
  readonly consumer: string | null;
  readonly processedAt: Date | null;
  readonly duplicates: number | null;
  readonly lastDuplicateAt: Date | null;
}

/** The events of the orders `orderIds`, oldest first. */
export async function readOrderEvents(sql: Sql, orderIds: readonly string[]): Promise<TimelineEvent[]> {
  const rows = await sql<EventRow[]>`
    select e.order_id as "orderId", e.id as "eventId", e.type, e.traceparent, e.occurred_at as "occurredAt",
           e.published_at as "publishedAt", e.republished_at as "republishedAt", e.retry_count as "retryCount",
           p.consumer, p.processed_at as "processedAt", p.duplicates, p.last_duplicate_at as "lastDuplicateAt"
    from outbox_events e left join processed_events p on p.event_id = e.id
    where e.order_id = any(${uuids(orderIds)}::text::uuid[])
    order by e.id, p.processed_at, p.consumer`;
  return [...Map.groupBy(rows, ({ eventId }) => eventId).values()].flatMap(([first, ...rest]) => {
    if (!first) return [];
    const { consumer: _, processedAt: __, duplicates: ___, lastDuplicateAt: ____, ...event } = first;
    return [{ ...event, processed: [first, ...rest].flatMap(processedBy) }];
  });
}

function processedBy({ consumer, processedAt, duplicates, lastDuplicateAt }: EventRow): Processing[] {
  if (consumer === null || processedAt === null) return [];
  return [{ consumer, at: processedAt, duplicates: duplicates ?? 0, lastDuplicateAt }];
}

/** What went wrong with an order's event, and which order that is. */
type Trouble<Kind extends TimelineEntry["kind"]> =
  & Omit<Extract<TimelineEntry, { kind: Kind }>, "kind" | "traceId">
  & { readonly orderId: string };

/** The delayed retries of the orders `orderIds`: the last one of each event and consumer. */
export async function readOrderRetries(sql: Sql, orderIds: readonly string[]): Promise<Trouble<"retry">[]> {
  return await sql<Trouble<"retry">[]>`
    select order_id as "orderId", event_id as "eventId", event_type as "eventType", consumer, error, retries,
           last_failed_at as at, due_at as "dueAt"
    from delayed_retries where order_id = any(${uuids(orderIds)}::text::uuid[])
    order by event_id, consumer`;
}

/** The dead letters of the orders `orderIds`, oldest first. */
export async function readOrderDeadLetters(
  sql: Sql,
  orderIds: readonly string[],
): Promise<Trouble<"dead-letter">[]> {
  return await sql<Trouble<"dead-letter">[]>`
    select order_id as "orderId", id as "deadLetterId", event_id as "eventId", event_type as "eventType", consumer, reason,
           last_failed_at as at
    from dead_letters where order_id = any(${uuids(orderIds)}::text::uuid[])
    order by id`;
}

/** Reads timelines, by order id: three queries for any number of orders. */
export type ReadTimelines = (orders: readonly OrderRow[]) => Promise<Map<string, TimelineEntry[]>>;

/** Makes a reader of timelines. `orderConsumers` names the orders module's consumers, whose processing moves an order. */
export function createTimelineReader(sql: Sql, orderConsumers: readonly string[]): ReadTimelines {
  return async (orders) => {
    const ids = orders.map(({ id }) => id);
    const [events, retries, letters] = await Promise.all([
      readOrderEvents(sql, ids),
      readOrderRetries(sql, ids),
      readOrderDeadLetters(sql, ids),
    ]);
    const eventsOf = Map.groupBy(events, ({ orderId }) => orderId);
    const retriesOf = Map.groupBy(retries, ({ orderId }) => orderId);
    const lettersOf = Map.groupBy(letters, ({ orderId }) => orderId);
    return new Map(orders.map((order) => {
      const trouble = { retries: retriesOf.get(order.id) ?? [], letters: lettersOf.get(order.id) ?? [] };
      return [order.id, buildTimeline(order, eventsOf.get(order.id) ?? [], trouble, orderConsumers)];
    }));
  };
}

/** Tells the story, oldest entry first. Where two entries have the same time, causes stand before their effects. */
export function buildTimeline(
  order: Pick<OrderRow, "createdAt">,
  events: readonly TimelineEvent[],
  trouble: {
    readonly retries: readonly Trouble<"retry">[];
    readonly letters: readonly Trouble<"dead-letter">[];
  },
  orderConsumers: readonly string[],
): TimelineEntry[] {
  const traceIds = new Map(events.map(({ eventId, traceparent }) => [eventId, traceIdOf(traceparent)]));
  const traceOf = (eventId: string | null) => traceIds.get(eventId ?? "") ?? null;
  const created = events.find(({ type }) => type === "order.created")?.eventId ?? null;
  const about = { eventId: null, eventType: null, traceId: traceOf(created) };
  const entries: TimelineEntry[] = [
    { at: order.createdAt, kind: "status", from: null, to: "PENDING", ...about },
    ...events.flatMap(entriesOf),
    ...statusChanges(events, orderConsumers),
    ...trouble.retries.map(({ orderId: _, ...retry }) => {
      return { kind: "retry", ...retry, traceId: traceOf(retry.eventId) } as const;
    }),
    ...trouble.letters.map(({ orderId: _, ...letter }) => {
      return { kind: "dead-letter", ...letter, traceId: traceOf(letter.eventId) } as const;
    }),
  ];
  return entries.sort((a, b) => a.at.getTime() - b.at.getTime() || RANK[a.kind] - RANK[b.kind]);
}

/** Within one instant: what a consumer did, then what that changed, then what came of it. */
const RANK = {
  processed: 0,
  status: 1,
  emitted: 2,
  published: 3,
  duplicate: 4,
  retry: 5,
  "dead-letter": 6,
} as const;

function entriesOf(event: TimelineEvent): TimelineEntry[] {
  const { eventId, type, traceparent, occurredAt, retryCount, processed } = event;
  const about = { eventId, eventType: type, traceId: traceIdOf(traceparent) };
  return [
    { at: occurredAt, kind: "emitted", ...about },
    ...publicationsOf(event).map((at) => ({ at, kind: "published", retryCount, ...about }) as const),
    ...processed.map(({ consumer, at }) => ({ at, kind: "processed", consumer, ...about }) as const),
    ...processed.flatMap(({ consumer, duplicates, lastDuplicateAt: at }) =>
      at ? [{ at, kind: "duplicate", consumer, duplicates, ...about } as const] : []
    ),
  ];
}

/**
 * When an event was published, as far as is known. The outbox keeps the last time alone: where an operator has asked for
 * that one, the first is placed when its first consumer was through with it, which is the latest that it can have been.
 */
function publicationsOf({ publishedAt, republishedAt, processed }: TimelineEvent): Date[] {
  const last = publishedAt ? [publishedAt] : [];
  const [first] = processed;
  return republishedAt && first && first.at < republishedAt ? [first.at, ...last] : last;
}

/**
 * The order's way through the state machine, by the same decision that the workers made. Not by the clock: two workers'
 * clocks differ, and only one order of the events is legal.
 */
function statusChanges(events: readonly TimelineEvent[], orderConsumers: readonly string[]): TimelineEntry[] {
  const applied = events.flatMap(({ eventId, type, traceparent, processed }) =>
    processed.filter(({ consumer }) => orderConsumers.includes(consumer)).map(({ at }) => ({
      eventId,
      type,
      traceparent,
      at,
    }))
  );
  const changes: TimelineEntry[] = [];
  for (let status: OrderStatus = "PENDING", next; (next = nextMove(status, applied)); status = next.to) {
    changes.push({ kind: "status", from: status, ...next });
  }
  return changes;
}

function nextMove(
  status: OrderStatus,
  applied: readonly (Pick<TimelineEvent, "eventId" | "type" | "traceparent"> & { readonly at: Date })[],
) {
  for (const { eventId, type, traceparent, at } of applied) {
    const decision = isOrderTrigger(type) ? decideTransition(status, type) : null;
    if (decision?.kind !== "move") continue;
    return { to: decision.to, eventId, eventType: type, traceId: traceIdOf(traceparent), at };
  }
  return null;
}
