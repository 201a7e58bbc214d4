/**
 * What can be told of an event from its row and its story. Pure.
 *
 * @module
 */
import type { OrderStoryJson, OutboxEventJson } from "../shared/ops/answers.ts";

/**
 * The AMQP properties and headers with which an event is published, each with its name; what it lacks is left out. Where
 * spans are recorded, the `traceparent` that is sent is that of the sending, in the same trace.
 */
export function amqpProperties(event: OutboxEventJson): [name: string, value: string][] {
  return [
    ["message-id", event.id],
    ["type", event.type],
    ["correlation-id", event.correlationId],
    ["timestamp", String(Math.floor(Date.parse(event.occurredAt) / 1000))], // AMQP's has whole seconds
    ["content-type", "application/json"],
    ["delivery-mode", "2 (persistent)"],
    ...(event.traceparent ? [["traceparent", event.traceparent] as [string, string]] : []),
  ];
}

/** How often an event came again and was absorbed, over all its consumers. */
export function duplicatesOf({ timeline }: Pick<OrderStoryJson, "timeline">, eventId: string): number {
  return timeline.reduce(
    (sum, entry) => entry.kind === "duplicate" && entry.eventId === eventId ? sum + entry.duplicates : sum,
    0,
  );
}
