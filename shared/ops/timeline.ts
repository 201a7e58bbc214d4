/**
 * The stories of orders, read across the modules' tables. For ops alone.
 *
 * @module
 */
import { type Sql, uuids } from "../sql/connect.ts";
import { decideTransition, isOrderTrigger, type OrderStatus } from "../order_status.ts";
import type { OrderRow } from "../sql/orders.ts";
import { traceIdOf } from "../process/tracing.ts";

/** What the inbox says of an event and one of its consumers. */
export interface Processing {
  /** The consumer's name. */
  readonly consumer: string;
  /** When it processed the event. */
  readonly at: Date;
  /** How often the event came again and was absorbed. */
  readonly duplicates: number;
  /** When it last did; null where it never has. */
  readonly lastDuplicateAt: Date | null;
}

/** An event of an order, with the consumers that have processed it. */
export interface TimelineEvent {
  /** The order that the event is about. */
  readonly orderId: string;
  /** The event's id, a uuid. */
  readonly eventId: string;
  /** The event's type. */
  readonly type: string;
  /** W3C trace context; null where there is none. */
  readonly traceparent: string | null;
  /** When the event happened, by the clock of the process that made it. */
  readonly occurredAt: Date;
  /** When the broker had confirmed it; null while it waits. */
  readonly publishedAt: Date | null;
  /** How often the broker has refused it so far. */
  readonly retryCount: number;
  /** Why it was last refused, even if it is published by now; null where it never was. */
  readonly lastError: string | null;
  /** Which consumers have processed it, and when, earliest first. */
  readonly processed: readonly Processing[];
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
           e.published_at as "publishedAt", e.retry_count as "retryCount", e.last_error as "lastError",
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

/** A delayed retry of an order's event. */
export interface TimelineRetry {
  /** The order that the event is about. */
  readonly orderId: string;
  /** The id of the event. */
  readonly eventId: string;
  /** The event's type. */
  readonly eventType: string;
  /** The consumer that could not process it. */
  readonly consumer: string;
  /** What its last attempt met with. */
  readonly error: string;
  /** Retries spent on it so far. */
  readonly retries: number;
  /** When it last failed. */
  readonly at: Date;
  /** When the consumer gets it again; null when it has been sent. */
  readonly dueAt: Date | null;
}

/** The delayed retries of the orders `orderIds`: the last one of each event and consumer. */
export async function readOrderRetries(sql: Sql, orderIds: readonly string[]): Promise<TimelineRetry[]> {
  return await sql<TimelineRetry[]>`
    select order_id as "orderId", event_id as "eventId", event_type as "eventType", consumer, error, retries,
           last_failed_at as at, due_at as "dueAt"
    from delayed_retries where order_id = any(${uuids(orderIds)}::text::uuid[])
    order by event_id, consumer`;
}

/** A dead letter of an order. */
export interface TimelineDeadLetter {
  /** The order that the event is about. */
  readonly orderId: string;
  /** The dead letter's own id, a version 7 uuid. */
  readonly id: string;
  /** The id of the event that was given up on; null where the body does not say. */
  readonly eventId: string | null;
  /** The type of that event; null where the body does not say. */
  readonly eventType: string | null;
  /** Who gave up on it: the consumer's name, which is its queue's. */
  readonly consumer: string;
  /** Why, in a few fixed words, such as `retries exhausted`. */
  readonly reason: string;
  /** When it was last given up on. */
  readonly at: Date;
}

/** The dead letters of the orders `orderIds`, oldest first. */
export async function readOrderDeadLetters(
  sql: Sql,
  orderIds: readonly string[],
): Promise<TimelineDeadLetter[]> {
  return await sql<TimelineDeadLetter[]>`
    select order_id as "orderId", id, event_id as "eventId", event_type as "eventType", consumer, reason,
           last_failed_at as at
    from dead_letters where order_id = any(${uuids(orderIds)}::text::uuid[])
    order by id`;
}

/** One thing that happened to an order. */
export type TimelineEntry =
  & {
    readonly at: Date;
    readonly eventId: string | null;
    readonly eventType: string | null;
    /** The trace that the event belongs to, 32 hex digits; null where there is none. */
    readonly traceId: string | null;
  }
  & (
    /** An event was appended to the outbox. */
    | { readonly kind: "emitted" }
    /** The broker has confirmed it. */
    | { readonly kind: "published"; readonly retryCount: number }
    /** A consumer has committed its effects. */
    | { readonly kind: "processed"; readonly consumer: string }
    /** The event came again, so often in all, the last time at this entry's: absorbed. */
    | { readonly kind: "duplicate"; readonly consumer: string; readonly duplicates: number }
    /** It could not be processed for now; this is the last time, after so many retries. */
    | {
      readonly kind: "retry";
      readonly consumer: string;
      readonly retries: number;
      readonly error: string;
      /** When the consumer gets it again; null when it has been sent. */
      readonly dueAt: Date | null;
    }
    /** The order has moved. */
    | { readonly kind: "status"; readonly from: OrderStatus | null; readonly to: OrderStatus }
    /** A consumer has given up on it. */
    | {
      readonly kind: "dead-letter";
      readonly consumer: string;
      readonly reason: string;
      readonly deadLetterId: string;
    }
  );

/** Reads timelines; made by `createTimelineReader`. */
export type ReadTimelines = (orders: readonly OrderRow[]) => Promise<Map<string, TimelineEntry[]>>;

/**
 * Makes a reader of timelines, by order id: three queries for any number of orders. `orderConsumers` names the consumers
 * of the orders module, whose processing is what moves an order.
 */
export function createTimelineReader(sql: Sql, orderConsumers: readonly string[]): ReadTimelines {
  return (orders) => readTimelines(sql, orders, orderConsumers);
}

async function readTimelines(
  sql: Sql,
  orders: readonly OrderRow[],
  orderConsumers: readonly string[],
): Promise<Map<string, TimelineEntry[]>> {
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
}

/** Tells the story, oldest entry first. Where two entries have the same time, causes stand before their effects. */
export function buildTimeline(
  order: Pick<OrderRow, "createdAt">,
  events: readonly TimelineEvent[],
  trouble: { readonly retries: readonly TimelineRetry[]; readonly letters: readonly TimelineDeadLetter[] },
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
    ...trouble.retries.map(({ orderId: _, ...retry }): TimelineEntry => ({
      kind: "retry",
      ...retry,
      traceId: traceOf(retry.eventId),
    })),
    ...trouble.letters.map(({ at, eventId, eventType, consumer, reason, id }): TimelineEntry => ({
      at,
      kind: "dead-letter",
      eventId,
      eventType,
      traceId: traceOf(eventId),
      consumer,
      reason,
      deadLetterId: id,
    })),
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

function entriesOf(
  { eventId, type, traceparent, occurredAt, publishedAt, retryCount, processed }: TimelineEvent,
): TimelineEntry[] {
  const about = { eventId, eventType: type, traceId: traceIdOf(traceparent) };
  return [
    { at: occurredAt, kind: "emitted", ...about },
    ...(publishedAt ? [{ at: publishedAt, kind: "published", retryCount, ...about } as const] : []),
    ...processed.map(({ consumer, at }) => ({ at, kind: "processed", consumer, ...about }) as const),
    ...processed.flatMap(({ consumer, duplicates, lastDuplicateAt: at }) =>
      at ? [{ at, kind: "duplicate", consumer, duplicates, ...about } as const] : []
    ),
  ];
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
