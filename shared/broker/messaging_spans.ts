/**
 * What the spans of messages have in common: the semantic conventions of OpenTelemetry for messaging
 * (https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/) and for RabbitMQ
 * (https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/). Pure.
 *
 * @module
 */
import type { Attributes } from "../tracing.ts";
import { brokerUrls } from "./urls.ts";

/** The attribute with the number of messages that a span is about; the runtime writes it as a double. */
export const BATCH_COUNT = "messaging.batch.message_count";

/** The attributes of all that is done with the broker at `url`, which is that of one node or of several. */
export function brokerAttributes(url: string): Attributes {
  const [only, ...others] = brokerUrls(url);
  if (others.length > 0) return { "messaging.system": "rabbitmq" }; // of a cluster's nodes, any
  const { hostname, port, protocol } = new URL(only);
  return {
    "messaging.system": "rabbitmq",
    "server.address": hostname,
    "server.port": Number(port || (protocol === "amqps:" ? 5671 : 5672)),
  };
}

/** Where a message goes, or where it came from and through which queue. What it has not is empty. */
export interface MessagePath {
  /** The exchange. */
  readonly exchange: string;
  /** The routing key. */
  readonly key: string;
  /** The queue; for a consumer only. */
  readonly queue?: string;
}

/** The destination's name, `exchange:key` or `exchange:key:queue`, without what is empty or said twice. */
export function destinationOf({ exchange, key, queue = "" }: MessagePath): string {
  return [exchange, key, queue === key ? "" : queue].filter((part) => part !== "").join(":") || "amq.default";
}

/** What is known of one message. What is null is left out. */
export interface MessageFacts extends MessagePath {
  /** Its message id. */
  readonly id: string | null;
  /** Its correlation id. */
  readonly correlationId: string | null;
}

/** The attributes of an operation on one message. */
export function messageAttributes(operation: "send" | "process", message: MessageFacts): Attributes {
  const { key, id, correlationId } = message;
  return {
    "messaging.operation.name": operation,
    "messaging.operation.type": operation,
    "messaging.destination.name": destinationOf(message),
    ...(key === "" ? {} : { "messaging.rabbitmq.destination.routing_key": key }),
    ...(id === null ? {} : { "messaging.message.id": id }),
    ...(correlationId === null ? {} : { "messaging.message.conversation_id": correlationId }),
  };
}
