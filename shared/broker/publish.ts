// Publishes batches with streaming publisher confirms (https://www.rabbitmq.com/docs/confirms).

import { Buffer } from "node:buffer";
import { Socket } from "node:net";
import { nextTick } from "node:process";
import { setImmediate } from "node:timers";
import type { ConfirmChannel, Message } from "amqplib";
import { messageOf } from "../process/errors.ts";
import { headersOf, REPUBLISHED_HEADER, type RetryState, type Traced } from "./message.ts";

/** A message on its way to the broker. What is null is not sent. */
export interface OutgoingMessage extends Traced {
  /** No two messages of a batch have the same. */
  readonly id: string;
  readonly type: string | null;
  readonly correlationId: string | null;
  /** Sent in whole seconds. */
  readonly occurredAt: Date | null;
  readonly body: string | Uint8Array;
  /** What its consumer has been through with it, if it is a retry. */
  readonly retryState?: RetryState;
  /** Whether an operator has it sent to everybody once more. */
  readonly isRepublished?: boolean;
}

export interface Route {
  /** Empty for the default one, which knows every queue by its name. */
  readonly exchange: string;
  readonly keyOf: (message: OutgoingMessage) => string;
  /** Whether a message that no queue takes is to come back, and to count as refused. */
  readonly isMandatory: (message: OutgoingMessage) => boolean;
}

/** The route of events: to the exchange, by their type; `heard` are the types that some queue is bound to. */
export function toExchange(exchange: string, heard: ReadonlySet<string>): Route {
  const typeOf = ({ type }: OutgoingMessage) => type ?? "";
  return { exchange, keyOf: typeOf, isMandatory: (message) => heard.has(typeOf(message)) };
}

/** The route to one queue alone, past the exchange: for what one consumer is to get once more. */
export function toQueue(queue: string): Route {
  return { exchange: "", keyOf: () => queue, isMandatory: () => true };
}

/** What became of a batch, by the messages' ids. */
export interface PublishOutcome {
  readonly confirmed: readonly string[];
  /** What the broker returned or nacked, or could not be encoded, each with why. */
  readonly refused: readonly { readonly id: string; readonly error: string }[];
  /** What had no answer when the channel went away or the time was up. */
  readonly unknown: readonly string[];
  /**
   * Why the broker closed the channel, if it did so for something in a message (for example, it was too large): that
   * message is among the unknown ones, and only sending them apart tells which it is. Null otherwise.
   */
  readonly offence: string | null;
}

export interface Publisher {
  /**
   * Sends all messages at once and resolves when the broker has answered for each, at the latest after `timeoutMs`.
   * The broker confirms an unroutable message as well; a mandatory one it returns first, and that counts as refused.
   * Never rejects.
   */
  publish(messages: readonly OutgoingMessage[], route: Route, timeoutMs: number): Promise<PublishOutcome>;
}

/**
 * Reply codes with which a broker closes a channel because of a message: content too large, precondition failed
 * (https://www.rabbitmq.com/amqp-0-9-1-reference#constants). The others, such as a missing exchange, are no message's
 * fault.
 */
const OFFENCES: ReadonlySet<unknown> = new Set([311, 406]);

/**
 * Makes a publisher, for as long as its channel lives. `onNack` is called after a batch of which the broker has nacked
 * something: see `renewsAtMost`.
 */
export function createPublisher(channel: ConfirmChannel, onNack: () => void = () => {}): Publisher {
  /**
   * Why messages came back, by their copies. The broker returns a message ahead of its confirm; the same event may be under
   * way to two queues at once, for two tasks that share the channel, and to one of them twice.
   */
  const returned = new Map<string, string[]>();
  const copyOf = (exchange: string, key: string, id: unknown) => JSON.stringify([exchange, key, id]);
  let offence: string | null = null;
  channel.on("error", (error: Error & { code?: unknown }) => {
    if (OFFENCES.has(error.code)) offence = error.message;
  });
  channel.on("return", (message: Message & { fields: { replyText?: string } }) => {
    const { fields: { exchange, routingKey, replyText }, properties: { messageId } } = message;
    returned.getOrInsert(copyOf(exchange, routingKey, messageId), []).push(replyText ?? "returned");
  });

  function takeReturn({ exchange, keyOf }: Route, message: OutgoingMessage): string | undefined {
    if (returned.size === 0) return undefined; // nearly always
    const copy = copyOf(exchange, keyOf(message), message.id);
    const reasons = returned.get(copy);
    const why = reasons?.shift();
    if (reasons?.length === 0) returned.delete(copy);
    return why;
  }

  return {
    publish(messages, route, timeoutMs) {
      const confirmed: string[] = [];
      const refused: { id: string; error: string }[] = [];
      const open = new Set(messages.map((message) => message.id));
      const { promise, resolve } = Promise.withResolvers<PublishOutcome>();
      const finish = () => resolve({ confirmed, refused, unknown: [...open], offence });
      const timer = setTimeout(finish, timeoutMs);
      let isNacked = false;
      const refuse = (id: string, error: string) => {
        open.delete(id);
        refused.push({ id, error });
      };
      const settle = (message: OutgoingMessage, error: Error | null) => {
        if (!open.has(message.id)) return;
        const why = takeReturn(route, message);
        if (why !== undefined) refuse(message.id, `returned by the broker: ${why}`);
        else if (error === null) {
          open.delete(message.id);
          confirmed.push(message.id);
        } else if (error.message === "message nacked") {
          isNacked = true;
          refuse(message.id, "refused by the broker (nack)");
        } else return finish(); // the channel is gone: whoever is still open has no answer to come
        if (open.size === 0) finish();
      };

      for (const message of messages) {
        try {
          const body = bufferOf(message.body);
          const properties = propertiesOf(message, route);
          const onAnswer = (error: Error | null) => settle(message, error);
          channel.publish(route.exchange, route.keyOf(message), body, properties, onAnswer);
        } catch (error) {
          if (error instanceof Error && error.name === "IllegalOperationError") {
            finish();
            break;
          }
          refuse(message.id, `cannot be encoded: ${messageOf(error)}`);
        }
      }
      if (messages.length > 1) sendTogether(channel);
      if (open.size === 0) finish();
      return promise.finally(() => {
        clearTimeout(timer);
        if (isNacked) onNack();
      });
    },
  };
}

/**
 * Has what was just published leave together. The client writes a turn later, and each message by itself, which is a system
 * call here and a packet that wakes the broker there: 554 orders/s, and 605 with this; a seventh less of the broker's time.
 * The socket is not a part of the client's interface: where it is none, messages leave as they do.
 */
function sendTogether({ connection }: ConfirmChannel): void {
  const socket = connection && "stream" in connection ? connection.stream : null;
  if (!(socket instanceof Socket)) return;
  socket.cork();
  nextTick(() => setImmediate(() => socket.uncork())); // behind the client's own
}

/**
 * Sends each of `things`, as the message that `messageOf` makes of it, to its consumer's queue alone, or where `routeOf`
 * says: one consumer after the other, as a batch has one route. Takes `timeoutMs` in all, so
 * that the caller's transaction is not idle for longer, and begins nothing more once the broker owes an answer. Answers
 * with what the broker has `taken`, what it has `refused`, and why the rest has no answer: null where all have one.
 */
export async function publishToQueues<T extends { readonly consumer: string }>(
  publisher: Publisher,
  things: readonly T[],
  messageOf: (thing: T) => OutgoingMessage,
  timeoutMs: number,
  routeOf: (consumer: string) => Route = toQueue,
) {
  const endMs = performance.now() + timeoutMs;
  const taken: T[] = [];
  const refused: { readonly thing: T; readonly error: string }[] = [];
  for (const [consumer, batch] of Map.groupBy(things, (thing) => thing.consumer)) {
    const leftMs = endMs - performance.now();
    if (leftMs <= 0) return { taken, refused, silence: "the broker was too slow" };
    const sending = batch.map((thing) => ({ thing, message: messageOf(thing) }));
    const outcome = await publisher.publish(sending.map(({ message }) => message), routeOf(consumer), leftMs);
    const confirmed = new Set(outcome.confirmed);
    const errors = new Map(outcome.refused.map(({ id, error }) => [id, error]));
    for (const { thing, message: { id } } of sending) {
      const error = errors.get(id);
      if (confirmed.has(id)) taken.push(thing);
      else if (error !== undefined) refused.push({ thing, error });
    }
    if (outcome.unknown.length === 0) continue;
    return { taken, refused, silence: outcome.offence ?? "the broker gave no answer" };
  }
  return { taken, refused, silence: null };
}

function propertiesOf(message: OutgoingMessage, route: Route) {
  const { id, type, correlationId, occurredAt, traceparent, tracestate, retryState, isRepublished } = message;
  const headers = {
    ...(traceparent === null ? {} : { traceparent, ...(tracestate ? { tracestate } : {}) }),
    ...(retryState ? headersOf(retryState) : {}),
    ...(isRepublished ? { [REPUBLISHED_HEADER]: true } : {}),
  };
  return {
    persistent: true,
    mandatory: route.isMandatory(message),
    contentType: "application/json",
    messageId: id,
    ...(type === null ? {} : { type }),
    ...(correlationId === null ? {} : { correlationId }),
    ...(occurredAt === null ? {} : { timestamp: Math.floor(occurredAt.getTime() / 1000) }), // AMQP's has seconds
    ...(Object.keys(headers).length > 0 ? { headers } : {}),
  };
}

function bufferOf(body: string | Uint8Array): Buffer {
  if (typeof body === "string") return Buffer.from(body);
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
}
