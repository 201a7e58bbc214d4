/**
 * Reads the stories of orders across the modules' tables. For ops alone.
 *
 * @module
 */
import { type Sql, uuids } from "./connect.ts";

/** An event of an order, with the consumers that have processed it. */
export interface TimelineEvent {
  readonly orderId: string;
  readonly eventId: string;
  readonly type: string;
  readonly occurredAt: Date;
  readonly publishedAt: Date | null;
  readonly retryCount: number;
  readonly lastError: string | null;
  readonly processed: readonly { readonly consumer: string; readonly at: Date }[];
}

interface EventRow extends Omit<TimelineEvent, "processed"> {
  readonly consumer: string | null;
  readonly processedAt: Date | null;
}

/** The events of the orders `orderIds`, oldest first. */
export async function readOrderEvents(sql: Sql, orderIds: readonly string[]): Promise<TimelineEvent[]> {
  const rows = await sql<EventRow[]>`
    select e.order_id as "orderId", e.id as "eventId", e.type, e.occurred_at as "occurredAt",
           e.published_at as "publishedAt", e.retry_count as "retryCount", e.last_error as "lastError",
           p.consumer, p.processed_at as "processedAt"
    from outbox_events e left join processed_events p on p.event_id = e.id
    where e.order_id = any(${uuids(orderIds)}::text::uuid[])
    order by e.id, p.processed_at, p.consumer`;
  return [...Map.groupBy(rows, ({ eventId }) => eventId).values()].flatMap(([first, ...rest]) => {
    if (!first) return [];
    const { consumer: _, processedAt: __, ...event } = first;
    return [{ ...event, processed: [first, ...rest].flatMap(processedBy) }];
  });
}

function processedBy({ consumer, processedAt }: EventRow) {
  return consumer !== null && processedAt !== null ? [{ consumer, at: processedAt }] : [];
}

/** A dead letter of an order. */
export interface TimelineDeadLetter {
  readonly orderId: string;
  readonly id: string;
  readonly eventId: string | null;
  readonly eventType: string | null;
  readonly consumer: string;
  readonly reason: string;
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
