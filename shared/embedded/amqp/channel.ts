// A channel: the methods that come on it, the messages being sent to it, its consumers and what they have not acknowledged.

import {
  addBinding,
  type Broker,
  declareExchange,
  declareQueue,
  deleteExchange,
  deleteQueue,
  findQueue,
  LIMITS,
  publish,
  randomName,
  refuseDefaultExchange,
  removeBinding,
} from "./broker.ts";
import { AmqpError, type ByteReader, checkProperties, read, withHeaders } from "./bytes.ts";
import { BASIC_CLASS, type Content, type Method, type MethodArguments, type MethodName } from "./frames.ts";
import { charge, type Message } from "./message.ts";
import {
  addConsumer,
  type Consumer,
  purge,
  putBack,
  type Queue,
  type QueueEntry,
  removeConsumer,
  settle,
  takeNext,
  wakeConsumer,
} from "./queue.ts";

/** The connection as its channels see it; exclusive queues belong to it. */
export type Peer = {
  send<N extends MethodName>(channel: number, name: N, args: MethodArguments<N>, content?: Content): void;
  /** Whether deliveries should wait until the peer has read what it was sent. */
  isCongested(): boolean;
  /** What the client said it understands. */
  capabilities: ReadonlySet<string>;
  user: string;
};

export type Channel = ReturnType<typeof createChannel>;

/** RabbitMQ hands a consumer of a quorum queue at most so many at once; prefetch 0 means as many as that. */
const MAX_QUORUM_PREFETCH = 2000;

const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

export function createChannel(id: number, peer: Peer, broker: Broker) {
  return {
    id,
    peer,
    broker,
    consumers: new Map<string, Consumer>(),
    /** What went out and awaits its acknowledgement, by delivery tag, in the order of the tags. */
    deliveries: new Map<number, QueueEntry>(),
    lastDeliveryTag: 0,
    /** Of the deliveries, those that consumers hold: what the channel's own prefetch limit counts. */
    consumerDeliveries: 0,
    /** Prefetch limit of consumers still to come; 0 for none. */
    prefetch: 0,
    /** Prefetch limit of the channel as a whole; 0 for none. */
    channelPrefetch: 0,
    /** The queue declared last, which an empty queue name stands for. */
    lastQueue: "",
    /** The `basic.publish` whose content is still arriving. */
    publishing: undefined as MethodArguments<"basic.publish"> | undefined,
    /** The message it publishes, once its content header is there. */
    message: undefined as Message | undefined,
    receivedBytes: 0,
    /** Publisher confirms, once selected: messages published, and those of them confirmed. */
    confirms: undefined as { published: number; confirmed: number } | undefined,
    /** After a `channel.close` from here, everything but its answer is ignored. */
    closing: false,
  };
}

/** Ends a channel: its consumers go, then what was out returns to the queues; auto-delete queues go last. */
export function endChannel(channel: Channel): void {
  const { consumers } = channel;
  channel.closing = true;
  abandonMessage(channel);
  consumers.values().forEach(removeConsumer);
  requeue(takeDeliveries(channel, 0, true));
  for (const { queue } of consumers.values()) deleteIfUnused(channel, queue);
  consumers.clear();
}

/** The arguments of a method's answer, which is called after it. */
type Answer<N extends MethodName> = `${N}-ok` extends MethodName ? MethodArguments<`${N}-ok`> : never;

/** What the methods do that a client sends on an open channel; what they return is in their answer. */
const HANDLERS: {
  readonly [N in MethodName]?: (channel: Channel, args: MethodArguments<N>) => Answer<N> | void;
} = {
  "basic.publish"(channel, args) {
    if (args.immediate) throw new AmqpError(540, "immediate=true");
    channel.publishing = args;
  },
  "basic.ack": acknowledge,
  "basic.nack": refuseDelivery,
  "basic.reject": (channel, args) => refuseDelivery(channel, { ...args, multiple: false }),
  "basic.recover"(channel, { requeue }) {
    if (!requeue) throw new AmqpError(540, "requeue=false");
    refuseDelivery(channel, { deliveryTag: 0, multiple: true, requeue });
  },
  "basic.get": getMessage,
  "basic.qos": setPrefetch,
  "basic.consume": startConsumer,
  "basic.cancel": cancelConsumer,
  "confirm.select"(channel) {
    channel.confirms ??= { published: 0, confirmed: 0 };
  },
  "queue.declare"(channel, args) {
    const name = args.passive ? queueName(channel, args.queue) : args.queue;
    const queue = declareQueue(channel.broker, { ...args, queue: name }, channel.peer);
    channel.lastQueue = queue.name;
    return { queue: queue.name, messageCount: queue.ready.length, consumerCount: queue.consumers.size };
  },
  "queue.bind"(channel, { exchange, queue: given, routingKey }) {
    const queue = namedQueue(channel, given);
    // An empty key beside an empty queue name stands for the queue's name (section 1.7.2.3.3).
    const key = given === "" && routingKey === "" ? queue.name : routingKey;
    addBinding(channel.broker, exchange, key, queue);
  },
  "queue.unbind"(channel, { exchange, queue: given, routingKey }) {
    refuseDefaultExchange(exchange);
    const queue = queueIfThere(channel, given);
    if (queue) removeBinding(channel.broker, exchange, routingKey, queue);
  },
  "queue.purge": (channel, { queue }) => ({ messageCount: purge(namedQueue(channel, queue)) }),
  "queue.delete"(channel, { queue: given, ifUnused, ifEmpty }) {
    const queue = queueIfThere(channel, given);
    if (!queue) return { messageCount: 0 };
    const refuse = (why: string) => new AmqpError(406, `queue '${queue.name}' in vhost '/' ${why}`);
    if (ifUnused && queue.consumers.size > 0) throw refuse("in use");
    if (ifEmpty && queue.ready.length > 0) throw refuse("not empty");
    return { messageCount: deleteQueue(channel.broker, queue) };
  },
  "exchange.declare": ({ broker }, args) => declareExchange(broker, args),
  "exchange.delete": ({ broker }, { exchange, ifUnused }) => deleteExchange(broker, exchange, ifUnused),
};

/** Methods that have no answer, or see to it themselves. */
const SELF_ANSWERING = /^basic\.(publish|ack|nack|reject|get|consume)$/;

/**
 * Does what a method asks of an open channel, and answers unless it asks for no answer.
 *
 * Errors: an `AmqpError` where channel or connection must close for it; 503 for a method that only a server sends.
 */
export function handleChannelMethod(channel: Channel, { name, args }: Method): void {
  if (channel.publishing) throw new AmqpError(505, `${name} amid the content of a message`);
  // Sound: each handler stands under the name of the method that it takes, and answers with what that one's answer takes.
  const handle = HANDLERS[name] as
    | ((channel: Channel, args: object) => MethodArguments<MethodName> | void)
    | undefined;
  if (!handle) throw new AmqpError(503, `${name} is not for a client to send here`);
  const answer = handle(channel, args) ?? {};
  if (SELF_ANSWERING.test(name) || ("noWait" in args && args.noWait)) return;
  channel.peer.send(channel.id, `${name}-ok` as MethodName, answer);
}

/** The queue that a method names, the one declared last by an empty name. Errors: `AmqpError` 404 or 405. */
function namedQueue(channel: Channel, given: string): Queue {
  return findQueue(channel.broker, queueName(channel, given), channel.peer);
}

function queueName({ lastQueue }: Channel, given: string): string {
  const name = given || lastQueue;
  if (name === "") throw new AmqpError(404, "no previously declared queue");
  return name;
}

/** As `namedQueue` for what is no error where there is no such queue: unbinding and deleting, as in RabbitMQ. */
function queueIfThere(channel: Channel, given: string): Queue | undefined {
  const name = queueName(channel, given);
  return channel.broker.queues.has(name) ? findQueue(channel.broker, name, channel.peer) : undefined;
}

/**
 * Takes a content header; a message without a body is published with it.
 *
 * Errors: `AmqpError` 505 when no content header was due, 502 when it is malformed, 406 when its expiration is not a whole
 * number, its user id not the connection's, or the body too long.
 */
export function receiveHeader(channel: Channel, payload: ByteReader): void {
  const { publishing, peer } = channel;
  if (!publishing || channel.message) throw new AmqpError(505, "content header where none was expected");
  if (read.short(payload) !== BASIC_CLASS) {
    throw new AmqpError(505, "content header of another class than basic");
  }
  read.short(payload); // weight, unused
  const bodySize = read.longlong(payload);
  const properties = payload.bytes.slice(payload.at, payload.end);
  const { expiration, userId } = checkProperties(payload);
  const most = Math.min(MAX_MESSAGE_BYTES, channel.broker.memory.limit);
  if (bodySize > most) {
    throw new AmqpError(406, `message size ${bodySize} is larger than configured max size ${most}`);
  }
  if (userId !== undefined && userId !== peer.user) {
    throw new AmqpError(406, `user_id property set to '${userId}' but authenticated user was '${peer.user}'`);
  }
  if (expiration !== undefined && !/^\d{1,15}$/.test(expiration)) {
    throw new AmqpError(406, `invalid expiration '${expiration}': it is not a number of milliseconds`);
  }
  channel.message = {
    exchange: publishing.exchange,
    routingKey: publishing.routingKey,
    properties,
    body: [],
    bodySize,
    expiration: expiration === undefined ? undefined : Number(expiration),
    deaths: [],
    firstDeath: undefined,
  };
  if (bodySize === 0) finishMessage(channel, channel.message, publishing.mandatory);
}

/**
 * Takes a piece of the body; the message is published with its last one.
 *
 * Errors: `AmqpError` 505 when no body was due, 502 when it is longer than announced, 506 at twice the memory's limit:
 * messages on their way alone take so much that waiting for their publishers would not bound it.
 */
export function receiveBody(channel: Channel, payload: ByteReader): void {
  const { publishing, message, broker: { memory } } = channel;
  if (!publishing || !message) throw new AmqpError(505, "content body where none was expected");
  const length = payload.end - payload.at;
  if (length === 0) return;
  if (channel.receivedBytes + length > message.bodySize) {
    throw new AmqpError(502, `content body longer than the ${message.bodySize} bytes announced`);
  }
  if (memory.used > memory.limit * 2) throw new AmqpError(506, "out of memory for messages on their way");
  message.body.push(payload.bytes.slice(payload.at, payload.end));
  channel.receivedBytes += length;
  charge(memory, length);
  if (channel.receivedBytes === message.bodySize) finishMessage(channel, message, publishing.mandatory);
}

function finishMessage(channel: Channel, message: Message, mandatory: boolean): void {
  const { id, peer, confirms, broker } = channel;
  const { exchange, routingKey } = message;
  const { isRouted, isRefused } = publish(broker, message);
  abandonMessage(channel); // only now: its memory is the queues' by now, and the alarm does not flicker
  if (!isRouted && mandatory) {
    peer.send(id, "basic.return", { replyCode: 312, replyText: "NO_ROUTE", exchange, routingKey }, message);
  }
  if (!confirms) return;
  if (!isRefused) {
    confirms.published++; // confirmed once the input at hand is handled
  } else { // a refusal has a frame of its own, after the confirms of everything before it
    sendConfirms(channel);
    confirms.confirmed = ++confirms.published;
    peer.send(id, "basic.nack", { deliveryTag: confirms.published, multiple: false, requeue: false });
  }
}

function abandonMessage(channel: Channel): void {
  charge(channel.broker.memory, -channel.receivedBytes);
  channel.publishing = channel.message = undefined;
  channel.receivedBytes = 0;
}

/** Confirms what was published, in one frame. */
export function sendConfirms({ id, peer, confirms, closing }: Channel): void {
  if (!confirms || confirms.confirmed === confirms.published || closing) return;
  const multiple = confirms.published - confirms.confirmed > 1;
  confirms.confirmed = confirms.published;
  peer.send(id, "basic.ack", { deliveryTag: confirms.published, multiple });
}

/** A limit for the consumers still to come, or with `global` for the channel as a whole. */
function setPrefetch(channel: Channel, args: MethodArguments<"basic.qos">): void {
  if (args.prefetchSize !== 0) throw new AmqpError(540, `prefetch_size!=0 (${args.prefetchSize})`);
  channel[args.global ? "channelPrefetch" : "prefetch"] = args.prefetchCount;
  wakeConsumers(channel);
}

function startConsumer(channel: Channel, args: MethodArguments<"basic.consume">): void {
  const { consumers, peer } = channel;
  const tag = args.consumerTag || `amq.ctag-${randomName()}`;
  const most = LIMITS.consumersPerChannel;
  if (consumers.has(tag)) throw new AmqpError(530, `attempt to reuse consumer tag '${tag}'`);
  if (consumers.size >= most) throw new AmqpError(530, `reached maximum (${most}) of consumers per channel`);
  const queue = namedQueue(channel, args.queue);
  if (queue.args.isQuorum) checkQuorumPrefetch(channel, queue);
  const others = [...queue.consumers];
  if (others.some((other) => other.exclusive) || (args.exclusive && others.length > 0)) {
    throw new AmqpError(403, `queue '${queue.name}' in vhost '/' in exclusive use`);
  }
  const consumer = createConsumer(channel, queue, tag, args);
  consumers.set(tag, consumer);
  if (!args.noWait) peer.send(channel.id, "basic.consume-ok", { consumerTag: tag }); // before the first delivery
  addConsumer(consumer);
}

function checkQuorumPrefetch({ channelPrefetch, prefetch }: Channel, { name }: Queue): void {
  const queue = `queue '${name}' in vhost '/'`;
  if (channelPrefetch > 0) throw new AmqpError(540, `${queue} does not support global qos`);
  if (prefetch <= MAX_QUORUM_PREFETCH) return;
  const why = `is above the ${MAX_QUORUM_PREFETCH} that a quorum queue allows`;
  throw new AmqpError(406, `prefetch count ${prefetch} for ${queue} ${why}`);
}

function createConsumer(
  channel: Channel,
  queue: Queue,
  tag: string,
  { noAck, exclusive }: MethodArguments<"basic.consume">,
): Consumer {
  const { id, peer } = channel;
  const prefetch = channel.prefetch || (queue.args.isQuorum ? MAX_QUORUM_PREFETCH : Infinity);
  const hasRoom = () =>
    consumer.unacknowledged < prefetch && channel.consumerDeliveries < (channel.channelPrefetch || Infinity);
  const consumer: Consumer = {
    queue,
    exclusive,
    unacknowledged: 0,
    canTake: () => !peer.isCongested() && (noAck || hasRoom()),
    deliver(entry) {
      const content = contentOf(entry);
      const sent = sendOut(channel, entry, consumer, noAck);
      peer.send(id, "basic.deliver", { ...sent, consumerTag: tag }, content);
    },
    cancelled() {
      channel.consumers.delete(tag);
      if (!peer.capabilities.has("consumer_cancel_notify")) return;
      peer.send(id, "basic.cancel", { consumerTag: tag, noWait: true });
    },
  };
  return consumer;
}

function cancelConsumer(channel: Channel, { consumerTag }: MethodArguments<"basic.cancel">) {
  const consumer = channel.consumers.get(consumerTag);
  if (consumer) {
    channel.consumers.delete(consumerTag);
    removeConsumer(consumer);
    deleteIfUnused(channel, consumer.queue);
  }
  return { consumerTag };
}

function deleteIfUnused(channel: Channel, queue: Queue): void {
  if (queue.autoDelete && queue.consumers.size === 0) deleteQueue(channel.broker, queue);
}

/** Lets consumers take messages again that could not, where their limits and their connection now allow it. */
export function wakeConsumers(channel: Channel): void {
  channel.consumers.values().forEach(wakeConsumer);
}

function getMessage(channel: Channel, args: MethodArguments<"basic.get">): void {
  const { id, peer } = channel;
  const queue = namedQueue(channel, args.queue);
  const entry = takeNext(queue);
  if (!entry) return peer.send(id, "basic.get-empty", { clusterId: "" });
  const content = contentOf(entry);
  const sent = sendOut(channel, entry, undefined, args.noAck);
  peer.send(id, "basic.get-ok", { ...sent, messageCount: queue.ready.length }, content);
}

/** A message as it goes out: quorum queues tell how often it came back before. */
function contentOf({ queue, message, returns }: QueueEntry): Content {
  if (!queue.args.isQuorum || returns === 0) return message;
  const properties = withHeaders(message.properties, new Map([["x-delivery-count", returns]]));
  return { ...message, properties };
}

/**
 * Gives an entry that goes out the channel's next delivery tag, and keeps it until it is acknowledged; with `noAck` it is
 * settled at once. Answers with what a delivery tells of it.
 */
function sendOut(channel: Channel, entry: QueueEntry, consumer: Consumer | undefined, noAck: boolean) {
  const { message: { exchange, routingKey }, returns } = entry;
  const deliveryTag = ++channel.lastDeliveryTag;
  entry.consumer = consumer;
  if (noAck) {
    settle(entry);
  } else {
    channel.deliveries.set(deliveryTag, entry);
    if (consumer) {
      consumer.unacknowledged++;
      channel.consumerDeliveries++;
    }
  }
  return { deliveryTag, redelivered: returns > 0, exchange, routingKey };
}

function acknowledge(channel: Channel, args: MethodArguments<"basic.ack">): void {
  takeDeliveries(channel, args.deliveryTag, args.multiple).forEach(settle);
  wakeConsumers(channel);
}

/** `basic.nack`, `basic.reject`, `basic.recover`. */
function refuseDelivery(channel: Channel, args: MethodArguments<"basic.nack">): void {
  const taken = takeDeliveries(channel, args.deliveryTag, args.multiple);
  if (args.requeue) {
    requeue(taken);
  } else {
    for (const entry of taken) {
      if (entry.queue.deleted) settle(entry);
      else entry.queue.onDead(entry, "rejected");
    }
  }
  wakeConsumers(channel);
}

function requeue(entries: readonly QueueEntry[]): void {
  for (const [queue, taken] of Map.groupBy(entries, ({ queue }) => queue)) putBack(queue, taken);
}

/**
 * Takes deliveries out of the channel: the one with this tag, or with `multiple` all up to it, tag 0 meaning all.
 *
 * Errors: `AmqpError` 406 on a tag that is not outstanding.
 */
function takeDeliveries(channel: Channel, tag: number, multiple: boolean): QueueEntry[] {
  const { deliveries } = channel;
  const last = multiple && tag === 0 ? Infinity : tag;
  const named = deliveries.get(tag);
  if (!named && last === tag) throw new AmqpError(406, `unknown delivery tag ${tag}`);
  const taken: QueueEntry[] = [];
  for (const [next, entry] of named && !multiple ? [[tag, named] as const] : deliveries) {
    if (next > last) break;
    deliveries.delete(next);
    taken.push(entry);
    if (!entry.consumer) continue;
    entry.consumer.unacknowledged--;
    entry.consumer = undefined; // what waits again would keep the connection in memory, with its buffers
    channel.consumerDeliveries--;
  }
  return taken;
}
