import { type Broker, deleteQueue, findQueue, randomName } from "./broker.ts";
import { AmqpError } from "./bytes.ts";
import type { Content } from "./frames.ts";
import { charge, release } from "./memory.ts";
import type { MethodArguments, MethodName } from "./methods.ts";
import { withHeaders } from "./properties.ts";
import {
  addConsumer,
  putBack,
  type Queue,
  type QueueConsumer,
  type QueueEntry,
  removeConsumer,
  takeNext,
  wakeConsumer,
} from "./queue.ts";
import { countReady } from "./ready_list.ts";

/** The connection as its channels see it; exclusive queues belong to it. */
export type Peer = {
  send<N extends MethodName>(channel: number, name: N, args: MethodArguments<N>, content?: Content): void;
  /** Whether deliveries should wait until the peer has read what it was sent. */
  isCongested(): boolean;
  /** What the client said it understands. */
  capabilities: ReadonlySet<string>;
  /** The user name that a message's `user-id` property must agree with. */
  user: string;
};

/** A consumer with what its channel knows of it. */
type Consumer = QueueConsumer & { readonly tag: string; readonly queue: Queue; unacknowledged: number };

/** A message that went out and awaits its acknowledgement; without a consumer it was fetched with `basic.get`. */
type Delivery = {
  readonly queue: Queue;
  readonly entry: QueueEntry;
  readonly consumer: Consumer | undefined;
};

/** A message whose frames are still arriving: its properties with the content header. */
export type IncomingMessage = {
  readonly publish: MethodArguments<"basic.publish">;
  properties: Uint8Array<ArrayBuffer> | undefined;
  expiration: number | undefined;
  bodySize: number;
  readonly body: Uint8Array<ArrayBuffer>[];
  receivedBytes: number;
};

/** An open channel. */
export type Channel = ReturnType<typeof createChannel>;

/** RabbitMQ hands a consumer of a quorum queue at most so many at once; prefetch 0 means as many as that. */
const MAX_QUORUM_PREFETCH = 2000;

/** A channel just opened. */
export function createChannel(id: number, peer: Peer, broker: Broker) {
  return {
    id,
    peer,
    broker,
    consumers: new Map<string, Consumer>(),
    /** By delivery tag, in the order of the tags. */
    deliveries: new Map<number, Delivery>(),
    lastDeliveryTag: 0,
    /** Of the deliveries, those that consumers hold: what the channel's own prefetch limit counts. */
    consumerDeliveries: 0,
    /** Prefetch limit of consumers still to come; 0 for none. */
    prefetch: 0,
    /** Prefetch limit of the channel as a whole; 0 for none. */
    channelPrefetch: 0,
    /** The queue declared last, which an empty queue name stands for. */
    lastQueue: "",
    incoming: undefined as IncomingMessage | undefined,
    /** Publisher confirms, once selected: messages published, and those of them confirmed. */
    confirms: undefined as { published: number; confirmed: number } | undefined,
    /** After a `channel.close` from here, everything but its answer is ignored. */
    closing: false,
  };
}

/** Ends a channel: its consumers go, then what was out returns to the queues; auto-delete queues go last. */
export function endChannel(channel: Channel): void {
  const { deliveries, consumers } = channel;
  channel.closing = true;
  abandonIncoming(channel);
  for (const consumer of consumers.values()) removeConsumer(consumer.queue, consumer);
  requeue(takeDeliveries(channel, 0, true));
  for (const { queue } of consumers.values()) deleteIfUnused(channel, queue);
  consumers.clear();
  deliveries.clear();
}

/** Forgets a message that will not be completed. */
export function abandonIncoming(channel: Channel): void {
  if (channel.incoming) charge(channel.broker.memory, -channel.incoming.receivedBytes);
  channel.incoming = undefined;
}

/** Acknowledges the published messages not yet confirmed, in one frame. */
export function sendConfirms({ id, peer, confirms, closing }: Channel): void {
  if (!confirms || confirms.confirmed === confirms.published || closing) return;
  const multiple = confirms.published - confirms.confirmed > 1;
  confirms.confirmed = confirms.published;
  peer.send(id, "basic.ack", { deliveryTag: confirms.published, multiple });
}

/** The queue that a method names, the one declared last by an empty name. Errors: `AmqpError` 404 or 405. */
export function namedQueue(channel: Channel, given: string): Queue {
  return findQueue(channel.broker, queueName(channel, given), channel.peer);
}

/** A queue's name as a method gives it. Errors: `AmqpError` 404 when it is empty and none was declared. */
export function queueName(channel: Channel, given: string): string {
  const name = given || channel.lastQueue;
  if (name === "") throw new AmqpError(404, "no previously declared queue");
  return name;
}

/** `basic.qos`: a limit for the consumers still to come, or with `global` for the channel as a whole. */
export function setPrefetch(channel: Channel, args: MethodArguments<"basic.qos">): void {
  if (args.prefetchSize !== 0) throw new AmqpError(540, `prefetch_size!=0 (${args.prefetchSize})`);
  if (args.global) channel.channelPrefetch = args.prefetchCount;
  else channel.prefetch = args.prefetchCount;
  channel.peer.send(channel.id, "basic.qos-ok", {});
  wakeConsumers(channel);
}

/** `basic.consume`. Errors: `AmqpError` 403, 404, 405, 406, 530 or 540 as from RabbitMQ. */
export function startConsumer(channel: Channel, args: MethodArguments<"basic.consume">): void {
  const { consumers, broker, peer } = channel;
  const tag = args.consumerTag || `amq.ctag-${randomName()}`;
  const most = broker.limits.consumersPerChannel;
  if (consumers.has(tag)) throw new AmqpError(530, `attempt to reuse consumer tag '${tag}'`);
  if (consumers.size >= most) throw new AmqpError(530, `reached maximum (${most}) of consumers per channel`);
  const queue = namedQueue(channel, args.queue);
  if (queue.args.type === "quorum") checkQuorumPrefetch(channel, queue);
  const others = [...queue.consumers];
  if (others.some((other) => other.exclusive) || (args.exclusive && others.length > 0)) {
    throw new AmqpError(403, `queue '${queue.name}' in vhost '/' in exclusive use`);
  }
  const consumer = createConsumer(channel, queue, tag, args);
  consumers.set(tag, consumer);
  if (!args.noWait) peer.send(channel.id, "basic.consume-ok", { consumerTag: tag });
  addConsumer(queue, consumer);
}

/** `basic.cancel`; an unknown tag is no error. */
export function cancelConsumer(
  channel: Channel,
  { consumerTag, noWait }: MethodArguments<"basic.cancel">,
): void {
  const consumer = channel.consumers.get(consumerTag);
  if (consumer) {
    channel.consumers.delete(consumerTag);
    removeConsumer(consumer.queue, consumer);
    deleteIfUnused(channel, consumer.queue);
  }
  if (!noWait) channel.peer.send(channel.id, "basic.cancel-ok", { consumerTag });
}

/** `basic.get`. Errors: `AmqpError` 404 or 405. */
export function getMessage(channel: Channel, args: MethodArguments<"basic.get">): void {
  const { id, peer } = channel;
  const queue = namedQueue(channel, args.queue);
  const entry = takeNext(queue);
  if (!entry) return peer.send(id, "basic.get-empty", { clusterId: "" });
  const sent = sendOut(channel, { queue, entry, consumer: undefined }, args.noAck);
  peer.send(id, "basic.get-ok", { ...sent, messageCount: countReady(queue.ready) }, contentOf(queue, entry));
}

/** `basic.ack`. Errors: `AmqpError` 406 on a tag that is not outstanding. */
export function acknowledge(channel: Channel, args: MethodArguments<"basic.ack">): void {
  const { memory } = channel.broker;
  for (const { entry } of takeDeliveries(channel, args.deliveryTag, args.multiple)) {
    release(memory, entry.message);
  }
  wakeConsumers(channel);
}

/** `basic.nack`, `basic.reject`, `basic.recover`. Errors: `AmqpError` 406 on a tag that is not outstanding. */
export function refuseDelivery(channel: Channel, args: MethodArguments<"basic.nack">): void {
  const taken = takeDeliveries(channel, args.deliveryTag, args.multiple);
  if (args.requeue) {
    requeue(taken);
  } else {
    for (const { queue, entry } of taken) {
      if (queue.deleted) release(queue.memory, entry.message);
      else queue.onDead(queue, entry, "rejected");
    }
  }
  wakeConsumers(channel);
}

/** Lets consumers take messages again that could not, where their limits and their connection now allow it. */
export function wakeConsumers(channel: Channel): void {
  for (const consumer of channel.consumers.values()) wakeConsumer(consumer.queue, consumer);
}

/**
 * Takes deliveries out of the channel: the one with this tag, or with `multiple` all up to it, tag 0 meaning all.
 *
 * Errors: `AmqpError` 406 on a tag that is not outstanding.
 */
function takeDeliveries(channel: Channel, tag: number, multiple: boolean): Delivery[] {
  const { deliveries } = channel;
  const isAll = multiple && tag === 0;
  if (!isAll && !deliveries.has(tag)) throw new AmqpError(406, `unknown delivery tag ${tag}`);
  const taken: Delivery[] = [];
  const take = (next: number, delivery: Delivery | undefined) => {
    if (!delivery) return;
    deliveries.delete(next);
    taken.push(delivery);
    if (!delivery.consumer) return;
    delivery.consumer.unacknowledged--;
    channel.consumerDeliveries--;
  };
  if (!multiple) take(tag, deliveries.get(tag));
  else {
    for (const [next, delivery] of deliveries) {
      if (!isAll && next > tag) break;
      take(next, delivery);
    }
  }
  return taken;
}

function requeue(deliveries: readonly Delivery[]): void {
  for (const [queue, taken] of Map.groupBy(deliveries, ({ queue }) => queue)) {
    putBack(queue, taken.map(({ entry }) => entry));
  }
}

function deleteIfUnused(channel: Channel, queue: Queue): void {
  if (queue.autoDelete && queue.consumers.size === 0) deleteQueue(channel.broker, queue);
}

/**
 * Gives an entry that goes out the channel's next delivery tag, and keeps it until it is acknowledged; with `noAck` it is
 * settled at once. Answers with what a delivery tells of it.
 */
function sendOut(channel: Channel, delivery: Delivery, noAck: boolean) {
  const { entry: { message, returns }, consumer } = delivery;
  const deliveryTag = ++channel.lastDeliveryTag;
  if (noAck) {
    release(channel.broker.memory, message);
  } else {
    channel.deliveries.set(deliveryTag, delivery);
    if (consumer) {
      consumer.unacknowledged++;
      channel.consumerDeliveries++;
    }
  }
  const { exchange, routingKey } = message;
  return { deliveryTag, redelivered: returns > 0, exchange, routingKey };
}

/** A message as it goes out: quorum queues tell how often it came back before. */
function contentOf(queue: Queue, { message, returns }: QueueEntry): Content {
  if (queue.args.type !== "quorum" || returns === 0) return message;
  return {
    ...message,
    properties: withHeaders(message.properties, new Map([["x-delivery-count", returns]])),
  };
}

function checkQuorumPrefetch({ channelPrefetch, prefetch }: Channel, { name }: Queue): void {
  if (channelPrefetch > 0) {
    throw new AmqpError(540, `queue '${name}' in vhost '/' does not support global qos`);
  }
  if (prefetch <= MAX_QUORUM_PREFETCH) return;
  const what = `prefetch count ${prefetch} for queue '${name}' in vhost '/'`;
  throw new AmqpError(406, `${what} is above the ${MAX_QUORUM_PREFETCH} that a quorum queue allows`);
}

function createConsumer(
  channel: Channel,
  queue: Queue,
  tag: string,
  { noAck, exclusive }: MethodArguments<"basic.consume">,
): Consumer {
  const { id, peer } = channel;
  const prefetch = channel.prefetch || (queue.args.type === "quorum" ? MAX_QUORUM_PREFETCH : Infinity);
  const hasRoom = () =>
    consumer.unacknowledged < prefetch && channel.consumerDeliveries < (channel.channelPrefetch || Infinity);
  const consumer: Consumer = {
    tag,
    queue,
    exclusive,
    unacknowledged: 0,
    canTake: () => !peer.isCongested() && (noAck || hasRoom()),
    deliver(entry) {
      const content = contentOf(queue, entry);
      const { deliveryTag, redelivered, exchange, routingKey } = sendOut(
        channel,
        { queue, entry, consumer },
        noAck,
      );
      peer.send(
        id,
        "basic.deliver",
        { consumerTag: tag, deliveryTag, redelivered, exchange, routingKey },
        content,
      );
    },
    cancelled() {
      channel.consumers.delete(tag);
      if (!peer.capabilities.has("consumer_cancel_notify")) return;
      peer.send(id, "basic.cancel", { consumerTag: tag, noWait: true });
    },
  };
  return consumer;
}
