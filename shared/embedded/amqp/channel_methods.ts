import {
  addBinding,
  declareExchange,
  declareQueue,
  deleteExchange,
  deleteQueue,
  findQueue,
  publish,
  refuseDefaultExchange,
  removeBinding,
} from "./broker.ts";
import { AmqpError, type ByteReader, read } from "./bytes.ts";
import {
  abandonIncoming,
  acknowledge,
  cancelConsumer,
  type Channel,
  getMessage,
  type IncomingMessage,
  namedQueue,
  queueName,
  refuseDelivery,
  sendConfirms,
  setPrefetch,
  startConsumer,
} from "./channel.ts";
import { BASIC_CLASS } from "./frames.ts";
import { charge, isExhausted } from "./memory.ts";
import type { Message } from "./message.ts";
import type { Method, MethodArguments, MethodName } from "./methods.ts";
import { checkProperties } from "./properties.ts";
import { purge } from "./queue.ts";
import { countReady } from "./ready_list.ts";

/**
 * Does what a method asks of an open channel, and replies.
 *
 * Errors: an `AmqpError` where channel or connection must close for it; 503 for a method that only a server sends.
 */
export function handleChannelMethod(channel: Channel, method: Method): void {
  const { id, peer, broker } = channel;
  function reply<N extends MethodName>(name: N, args: MethodArguments<N>): void {
    if (!("noWait" in method.args && method.args.noWait)) peer.send(id, name, args);
  }
  if (channel.incoming) throw new AmqpError(505, `${method.name} amid the content of a message`);
  switch (method.name) {
    case "basic.publish":
      return beginMessage(channel, method.args);
    case "basic.ack":
      return acknowledge(channel, method.args);
    case "basic.nack":
      return refuseDelivery(channel, method.args);
    case "basic.reject":
      return refuseDelivery(channel, { ...method.args, multiple: false });
    case "basic.get":
      return getMessage(channel, method.args);
    case "basic.qos":
      return setPrefetch(channel, method.args);
    case "basic.consume":
      return startConsumer(channel, method.args);
    case "basic.cancel":
      return cancelConsumer(channel, method.args);
    case "basic.recover":
    case "basic.recover-async":
      if (!method.args.requeue) throw new AmqpError(540, "requeue=false");
      refuseDelivery(channel, { deliveryTag: 0, multiple: true, requeue: true });
      return method.name === "basic.recover" ? reply("basic.recover-ok", {}) : undefined;
    case "confirm.select":
      channel.confirms ??= { published: 0, confirmed: 0 };
      return reply("confirm.select-ok", {});
    case "queue.declare": {
      const { queue: given, passive } = method.args;
      const name = passive && given === "" ? queueName(channel, given) : given;
      const { name: queue, ready, consumers } = declareQueue(broker, { ...method.args, queue: name }, peer);
      channel.lastQueue = queue;
      const counts = { messageCount: countReady(ready), consumerCount: consumers.size };
      return reply("queue.declare-ok", { queue, ...counts });
    }
    case "queue.bind": {
      const { exchange, queue: given, routingKey } = method.args;
      const queue = namedQueue(channel, given);
      // An empty key beside an empty queue name stands for the queue's name (section 1.7.2.3.3).
      addBinding(broker, exchange, given === "" && routingKey === "" ? queue.name : routingKey, queue);
      return reply("queue.bind-ok", {});
    }
    case "queue.unbind":
      unbindQueue(channel, method.args);
      return reply("queue.unbind-ok", {});
    case "queue.purge":
      return reply("queue.purge-ok", { messageCount: purge(namedQueue(channel, method.args.queue)) });
    case "queue.delete":
      return reply("queue.delete-ok", { messageCount: deleteNamedQueue(channel, method.args) });
    case "exchange.declare":
      declareExchange(broker, method.args);
      return reply("exchange.declare-ok", {});
    case "exchange.delete":
      deleteExchange(broker, method.args.exchange, method.args.ifUnused);
      return reply("exchange.delete-ok", {});
    default:
      throw new AmqpError(503, `${method.name} is not for a client to send here`);
  }
}

/** Deleting a queue that is not there is no error, as in RabbitMQ. */
function deleteNamedQueue(channel: Channel, args: MethodArguments<"queue.delete">): number {
  const name = queueName(channel, args.queue);
  if (!channel.broker.queues.has(name)) return 0;
  const queue = findQueue(channel.broker, name, channel.peer);
  const refuse = (why: string) => new AmqpError(406, `queue '${name}' in vhost '/' ${why}`);
  if (args.ifUnused && queue.consumers.size > 0) throw refuse("in use");
  if (args.ifEmpty && countReady(queue.ready) > 0) throw refuse("not empty");
  return deleteQueue(channel.broker, queue);
}

/** Unbinding what is not there is no error, as in RabbitMQ. */
function unbindQueue(channel: Channel, args: MethodArguments<"queue.unbind">): void {
  const { queues, exchanges } = channel.broker;
  refuseDefaultExchange(args.exchange);
  const name = queueName(channel, args.queue);
  const exchange = exchanges.get(args.exchange);
  if (!exchange || !queues.has(name)) return;
  removeBinding(channel.broker, exchange, args.routingKey, findQueue(channel.broker, name, channel.peer));
}

/** Begins a message: its header and body are still to come. */
function beginMessage(channel: Channel, publish: MethodArguments<"basic.publish">): void {
  if (publish.immediate) throw new AmqpError(540, "immediate=true");
  channel.incoming = {
    publish,
    properties: undefined,
    expiration: undefined,
    bodySize: 0,
    body: [],
    receivedBytes: 0,
  };
}

/**
 * Takes a content header.
 *
 * Errors: `AmqpError` 505 when none was due, 502 when it is malformed, 406 when its expiration is not a whole number, its
 * user id not the connection's, or the body too long.
 */
export function receiveHeader(channel: Channel, payload: ByteReader): void {
  const { incoming, peer } = channel;
  if (!incoming || incoming.properties) throw new AmqpError(505, "content header where none was expected");
  if (read.short(payload) !== BASIC_CLASS) {
    throw new AmqpError(505, "content header of another class than basic");
  }
  read.short(payload); // weight, unused
  incoming.bodySize = read.longlong(payload);
  incoming.properties = payload.bytes.slice(payload.at, payload.end);
  const { expiration, userId } = checkProperties(payload);
  const most = channel.broker.limits.messageBytes;
  if (incoming.bodySize > most) {
    throw new AmqpError(406, `message size ${incoming.bodySize} is larger than configured max size ${most}`);
  }
  if (userId !== undefined && userId !== peer.user) {
    throw new AmqpError(406, `user_id property set to '${userId}' but authenticated user was '${peer.user}'`);
  }
  incoming.expiration = parseExpiration(expiration);
  if (incoming.bodySize === 0) finishMessage(channel, incoming, incoming.properties);
}

/**
 * Takes a piece of the body; the message is published with its last one.
 *
 * Errors: `AmqpError` 505 when no body was due, 502 when it is longer than announced, 506 when messages still on their way
 * take so much memory that waiting for their publishers would not bound it.
 */
export function receiveBody(channel: Channel, payload: ByteReader): void {
  const { incoming, broker: { memory } } = channel;
  if (!incoming?.properties) throw new AmqpError(505, "content body where none was expected");
  const length = payload.end - payload.at;
  if (length === 0) return;
  if (incoming.receivedBytes + length > incoming.bodySize) {
    throw new AmqpError(502, `content body longer than the ${incoming.bodySize} bytes announced`);
  }
  if (isExhausted(memory)) throw new AmqpError(506, "out of memory for messages on their way");
  incoming.body.push(payload.bytes.slice(payload.at, payload.end));
  incoming.receivedBytes += length;
  charge(memory, length);
  if (incoming.receivedBytes === incoming.bodySize) finishMessage(channel, incoming, incoming.properties);
}

function finishMessage(
  channel: Channel,
  { publish: { exchange, routingKey, mandatory }, expiration, body, bodySize }: IncomingMessage,
  properties: Uint8Array<ArrayBuffer>,
): void {
  const { id, peer, confirms, broker } = channel;
  const message: Message = {
    exchange,
    routingKey,
    properties,
    body,
    bodySize,
    expiration,
    deaths: [],
    firstDeath: undefined,
    references: 0,
  };
  const outcome = publish(broker, message);
  abandonIncoming(channel); // only now: its memory is the message's by now, and the alarm does not flicker
  if (outcome === "unroutable" && mandatory) {
    peer.send(id, "basic.return", { replyCode: 312, replyText: "NO_ROUTE", exchange, routingKey }, message);
  }
  if (!confirms) return;
  if (outcome !== "refused") {
    confirms.published++; // confirmed once the input at hand is handled
  } else { // a refusal has a frame of its own, after the confirms of everything before it
    sendConfirms(channel);
    confirms.confirmed = ++confirms.published;
    peer.send(id, "basic.nack", { deliveryTag: confirms.published, multiple: false, requeue: false });
  }
}

function parseExpiration(expiration: string | undefined): number | undefined {
  if (expiration === undefined) return undefined;
  const milliseconds = /^-?\d{1,15}$/.test(expiration) ? Number(expiration) : NaN;
  if (milliseconds >= 0) return milliseconds;
  const why = Number.isNaN(milliseconds) ? "no_integer" : `{value_negative,${milliseconds}}`;
  throw new AmqpError(406, `invalid expiration '${expiration}': ${why}`);
}
