/**
 * Publishes batches with streaming publisher confirms (https://www.rabbitmq.com/docs/confirms).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Message } from "amqplib";
import type { ConfirmChannel } from "./connect.ts";

/** A message on its way to the exchange; its type is its routing key. */
export interface OutgoingMessage {
  /** The event's id, sent as `message-id`; no two messages of a batch have the same. */
  readonly id: string;
  /** The event's type, sent as `type` and as the routing key. */
  readonly type: string;
  /** The correlation id of the event, sent as `correlation-id`. */
  readonly correlationId: string;
  /** W3C trace context, sent as a header of that name; null sends none. */
  readonly traceparent: string | null;
  /** When the event happened, sent as `timestamp` in whole seconds. */
  readonly occurredAt: Date;
  /** The envelope as JSON text, sent in UTF-8. */
  readonly body: string;
}

/** What became of a batch. */
export interface PublishOutcome {
  /** The ids of the messages that the broker has taken. */
  readonly confirmed: readonly string[];
  /** The ids of those that it returned or nacked, or that could not be encoded, each with why. */
  readonly refused: readonly { readonly id: string; readonly error: string }[];
  /** The ids of those without an answer when the channel went away or the time was up. */
  readonly unknown: readonly string[];
}

/** Publishes to one exchange over one confirm channel. */
export interface Publisher {
  /**
   * Sends all messages at once and resolves when the broker has answered for each, at the latest after `timeoutMs`.
   * An unroutable message is confirmed by the broker all the same; `isMandatory` types are returned first, and count as
   * refused. Never rejects.
   */
  publish(messages: readonly OutgoingMessage[], timeoutMs: number): Promise<PublishOutcome>;
}

/** Makes a publisher. It is done with when its channel is. */
export function createPublisher(
  channel: ConfirmChannel,
  exchange: string,
  isMandatory: (type: string) => boolean,
): Publisher {
  const returned = new Map<string, string>();
  channel.on("return", (message: Message & { fields: { replyText?: string } }) => {
    returned.set(String(message.properties.messageId), message.fields.replyText ?? "returned");
  });

  function publish(messages: readonly OutgoingMessage[], timeoutMs: number): Promise<PublishOutcome> {
    const confirmed: string[] = [];
    const refused: { id: string; error: string }[] = [];
    const open = new Set(messages.map((message) => message.id));
    const { promise, resolve } = Promise.withResolvers<PublishOutcome>();
    const finish = () => resolve({ confirmed, refused, unknown: [...open] });
    const timer = setTimeout(finish, timeoutMs);

    const refuse = (id: string, error: string) => {
      open.delete(id);
      refused.push({ id, error });
    };
    const settle = (message: OutgoingMessage, error: Error | null) => {
      if (!open.has(message.id)) return;
      const why = returned.get(message.id);
      returned.delete(message.id);
      if (why !== undefined) refuse(message.id, `returned by the broker: ${why}`);
      else if (error === null) {
        open.delete(message.id);
        confirmed.push(message.id);
      } else if (error.message === "message nacked") refuse(message.id, "refused by the broker (nack)");
      else return finish(); // the channel is gone: whoever is still open has no answer to come
      if (open.size === 0) finish();
    };

    for (const message of messages) {
      try {
        channel.publish(
          exchange,
          message.type,
          Buffer.from(message.body),
          properties(message),
          (error) => settle(message, error),
        );
      } catch (error) {
        if (error instanceof Error && error.name === "IllegalOperationError") {
          finish();
          break;
        }
        refuse(message.id, `cannot be encoded: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    if (open.size === 0) finish();
    return promise.finally(() => clearTimeout(timer));
  }

  function properties(message: OutgoingMessage) {
    return {
      persistent: true,
      mandatory: isMandatory(message.type),
      contentType: "application/json",
      messageId: message.id,
      type: message.type,
      correlationId: message.correlationId,
      timestamp: Math.floor(message.occurredAt.getTime() / 1000), // AMQP's timestamp has seconds
      ...(message.traceparent ? { headers: { traceparent: message.traceparent } } : {}),
    };
  }

  return { publish };
}
