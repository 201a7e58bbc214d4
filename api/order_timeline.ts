/**
 * One order's story, told from the outbox, the inbox and the dead letters.
 *
 * @module
 */
import { decideTransition, isOrderTrigger, type OrderStatus } from "../shared/order_status.ts";
import type { Sql } from "../shared/sql/connect.ts";
import type { OrderRow } from "../shared/sql/orders.ts";
import {
  readOrderDeadLetters,
  readOrderEvents,
  readOrderRetries,
  type TimelineDeadLetter,
  type TimelineEvent,
  type TimelineRetry,
} from "../shared/sql/timeline.ts";
import { traceIdOf } from "../shared/trace_context.ts";

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
