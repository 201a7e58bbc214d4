import { AmqpError } from "./amqp_error.ts";
import type { Broker } from "./broker.ts";
import { withHeaders } from "./content_properties.ts";
import type { Content } from "./frame_writer.ts";
import type { MethodArguments } from "./method_codec.ts";
import type { MethodName } from "./method_table.ts";
import { putBack, type Queue, type QueueConsumer, type QueueEntry, removeConsumer, wake } from "./queue.ts";
import { deleteQueue } from "./topology.ts";

/** The connection as its channels see it. */
export type Peer = {
  send<N extends MethodName>(channel: number, name: N, args: MethodArguments<N>): void;
  sendContent<N extends MethodName>(
    channel: number,
    name: N,
    args: MethodArguments<N>,
    content: Content,
  ): void;
  /** Whether deliveries should wait until the peer has read what it was sent. */
  congested(): boolean;
  /** Whether the client understands a `basic.cancel` from the server. */
  understandsCancel(): boolean;
  /** The user name that a message's `user-id` property must agree with. */
  user(): string;
  /** Has {@linkcode sendConfirms} called for the channel once the input at hand is handled. */
  confirmLater(channel: Channel): void;
};

/** A consumer with what its channel knows of it. */
export type ChannelConsumer = QueueConsumer & {
  readonly tag: string;
  readonly queue: Queue;
  unacknowledged: number;
};

/** A message that went out and awaits its acknowledgement. */
export type Delivery = {
  readonly queue: Queue;
  readonly entry: QueueEntry;
  /** `undefined` when it was fetched with `basic.get`. */
  readonly consumer: ChannelConsumer | undefined;
};

/** A message whose frames are still arriving. */
export type IncomingMessage = {
  readonly publish: MethodArguments<"basic.publish">;
  properties: Uint8Array<ArrayBuffer> | undefined;
  expiration: number | undefined;
  bodySize: number;
  readonly body: Uint8Array<ArrayBuffer>[];
  receivedBytes: number;
};

/** An open channel. */
export type Channel = {
  readonly id: number;
  readonly peer: Peer;
  /** Stands for the connection: what exclusive queues belong to. */
  readonly session: object;
  readonly broker: Broker;
  readonly consumers: Map<string, ChannelConsumer>;
  /** By delivery tag, in the order of the tags. */
  readonly deliveries: Map<number, Delivery>;
  lastDeliveryTag: number;
  /** Of the deliveries, those that consumers hold: what the channel's own prefetch limit counts. */
  consumerDeliveries: number;
  /** Prefetch limit of consumers still to come; 0 for none. */
  prefetch: number;
  /** Prefetch limit of the channel as a whole; 0 for none. */
  channelPrefetch: number;
  /** The queue declared last, which an empty queue name stands for. */
  lastQueue: string;
  incoming: IncomingMessage | undefined;
  /** Publisher confirms, once selected: messages published, and those of them confirmed. */
  confirms: { published: number; confirmed: number } | undefined;
  /** After a `channel.close` from here, everything but its answer is ignored. */
  closing: boolean;
};

/** A channel just opened. */
export function createChannel(id: number, peer: Peer, session: object, broker: Broker): Channel {
  return {
    id,
    peer,
    session,
    broker,
    consumers: new Map(),
    deliveries: new Map(),
    lastDeliveryTag: 0,
    consumerDeliveries: 0,
    prefetch: 0,
    channelPrefetch: 0,
    lastQueue: "",
    incoming: undefined,
    confirms: undefined,
    closing: false,
  };
}

/** A queue's name as a method gives it: empty for the one declared last. Throws 404 when none was declared. */
export function queueName(channel: Channel, given: string): string {
  const name = given || channel.lastQueue;
  if (name === "") throw new AmqpError(404, "no previously declared queue");
  return name;
}

/** Gives an entry the channel's next delivery tag, and keeps it until it is acknowledged, unless `noAck`. */
export function assignDeliveryTag(channel: Channel, delivery: Delivery, noAck: boolean): number {
  const tag = ++channel.lastDeliveryTag;
  if (noAck) return tag;
  channel.deliveries.set(tag, delivery);
  if (delivery.consumer) {
    delivery.consumer.unacknowledged++;
    channel.consumerDeliveries++;
  }
  return tag;
}

/** A message as it goes out: quorum queues tell how often it was out before. */
export function deliveredContent(queue: Queue, entry: QueueEntry): Content {
  if (queue.args.type !== "quorum" || entry.returns === 0) return entry.message;
  const count = new Map([["x-delivery-count", { type: "l", value: BigInt(entry.returns) } as const]]);
  return { ...entry.message, properties: withHeaders(entry.message.properties, count) };
}

/**
 * Takes deliveries out of the channel: the one with this tag, or with `multiple` all up to it, tag 0 meaning all.
 *
 * Throws {@linkcode AmqpError} 406 on a tag that is not outstanding.
 */
export function takeDeliveries(channel: Channel, tag: number, multiple: boolean): Delivery[] {
  const { deliveries } = channel;
  const taken: Delivery[] = [];
  if (!multiple || !(tag === 0 || deliveries.has(tag))) {
    const delivery = deliveries.get(tag);
    if (!delivery) throw new AmqpError(406, `unknown delivery tag ${tag}`);
    deliveries.delete(tag);
    taken.push(delivery);
  } else {
    for (const [next, delivery] of deliveries) {
      if (tag !== 0 && next > tag) break;
      deliveries.delete(next);
      taken.push(delivery);
    }
  }
  for (const { consumer } of taken) {
    if (!consumer) continue;
    consumer.unacknowledged--;
    channel.consumerDeliveries--;
  }
  return taken;
}

/** Puts deliveries back into their queues. */
export function requeue(deliveries: readonly Delivery[]): void {
  const byQueue = new Map<Queue, QueueEntry[]>();
  for (const { queue, entry } of deliveries) {
    const entries = byQueue.get(queue);
    if (entries) entries.push(entry);
    else byQueue.set(queue, [entry]);
  }
  for (const [queue, entries] of byQueue) putBack(queue, entries);
}

/** Lets consumers that were set aside take messages again, where their limits now allow it. */
export function wakeConsumers(channel: Channel): void {
  for (const consumer of channel.consumers.values()) wake(consumer.queue, consumer);
}

/** Ends a consumer; an auto-delete queue goes with its last one. */
export function endConsumer(channel: Channel, consumer: ChannelConsumer): void {
  channel.consumers.delete(consumer.tag);
  const { queue } = consumer;
  removeConsumer(queue, consumer);
  if (queue.autoDelete && queue.consumers.size === 0) deleteQueue(channel.broker, queue);
}

/** Ends a channel: its consumers go, then what they held returns to the queues. */
export function endChannel(channel: Channel): void {
  abandonIncoming(channel);
  const deliveries = [...channel.deliveries.values()];
  channel.deliveries.clear();
  channel.consumerDeliveries = 0;
  const consumers = [...channel.consumers.values()];
  // Out of line first, so that no queue offers what comes back to a consumer that is about to end.
  for (const consumer of consumers) consumer.state = "gone";
  requeue(deliveries);
  for (const consumer of consumers) endConsumer(channel, consumer);
}

/** Forgets a message that will not be completed. */
export function abandonIncoming(channel: Channel): void {
  if (channel.incoming) channel.broker.memory.refund(channel.incoming.receivedBytes);
  channel.incoming = undefined;
}

/** Acknowledges the published messages not yet confirmed, in one frame. */
export function sendConfirms(channel: Channel): void {
  const { confirms } = channel;
  if (!confirms || confirms.confirmed === confirms.published || channel.closing) return;
  const multiple = confirms.published - confirms.confirmed > 1;
  confirms.confirmed = confirms.published;
  channel.peer.send(channel.id, "basic.ack", { deliveryTag: confirms.published, multiple });
}
