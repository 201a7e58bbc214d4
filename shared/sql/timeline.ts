/**
 * Reads the stories of orders across the modules' tables. For ops alone.
 *
 * @module
 */
import { type Sql, uuids } from "./connect.ts";

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
