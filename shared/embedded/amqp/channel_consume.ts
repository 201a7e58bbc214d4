import { AmqpError } from "./amqp_error.ts";
import {
  assignDeliveryTag,
  type Channel,
  type ChannelConsumer,
  deliveredContent,
  type Delivery,
  endConsumer,
  queueName,
  requeue,
  takeDeliveries,
  wakeConsumers,
} from "./channel.ts";
import type { MethodArguments } from "./method_codec.ts";
import { addConsumer, type Queue, type QueueEntry, takeNext } from "./queue.ts";
import { findQueue, randomName } from "./topology.ts";

/** RabbitMQ hands a consumer of a quorum queue at most so many at once; prefetch 0 means as many as that. */
const MAX_QUORUM_PREFETCH = 2000;

/** `basic.qos`: a limit for the consumers still to come, or with `global` for the channel as a whole. */
export function setPrefetch(channel: Channel, args: MethodArguments<"basic.qos">): void {
  if (args.prefetchSize !== 0) throw new AmqpError(540, `prefetch_size!=0 (${args.prefetchSize})`);
  if (args.global) channel.channelPrefetch = args.prefetchCount;
  else channel.prefetch = args.prefetchCount;
  channel.peer.send(channel.id, "basic.qos-ok", {});
  wakeConsumers(channel);
}

/** `basic.consume`. Throws {@linkcode AmqpError} 403, 404, 405, 406, 530 or 540 as RabbitMQ does. */
export function startConsumer(channel: Channel, args: MethodArguments<"basic.consume">): void {
  const tag = args.consumerTag || `amq.ctag-${randomName()}`;
  if (channel.consumers.has(tag)) throw new AmqpError(530, `attempt to reuse consumer tag '${tag}'`);
  const most = channel.broker.limits.consumersPerChannel;
  if (channel.consumers.size >= most) {
    throw new AmqpError(530, `reached maximum (${most}) of consumers per channel`);
  }
  const queue = findQueue(channel.broker, queueName(channel, args.queue), channel.session);
  if (queue.args.type === "quorum") checkQuorumPrefetch(channel, queue);
  const others = [...queue.consumers];
  if (others.some((other) => other.exclusive) || (args.exclusive && others.length > 0)) {
    throw new AmqpError(403, `queue '${queue.name}' in vhost '/' in exclusive use`);
  }
  const consumer = createConsumer(channel, queue, tag, args);
  channel.consumers.set(tag, consumer);
  if (!args.noWait) channel.peer.send(channel.id, "basic.consume-ok", { consumerTag: tag });
  addConsumer(queue, consumer);
}

/** `basic.cancel`; an unknown tag is no error. */
export function cancelConsumer(channel: Channel, args: MethodArguments<"basic.cancel">): void {
  const consumer = channel.consumers.get(args.consumerTag);
  if (consumer) endConsumer(channel, consumer);
  if (!args.noWait) channel.peer.send(channel.id, "basic.cancel-ok", { consumerTag: args.consumerTag });
}

/** `basic.get`. Throws {@linkcode AmqpError} 404 or 405. */
export function getMessage(channel: Channel, args: MethodArguments<"basic.get">): void {
  const queue = findQueue(channel.broker, queueName(channel, args.queue), channel.session);
  const entry = takeNext(queue);
  if (!entry) return channel.peer.send(channel.id, "basic.get-empty", { clusterId: "" });
  const deliveryTag = assignDeliveryTag(channel, { queue, entry, consumer: undefined }, args.noAck);
  const { exchange, routingKey } = entry.message;
  const reply = {
    deliveryTag,
    redelivered: entry.returns > 0,
    exchange,
    routingKey,
    messageCount: queue.ready.length,
  };
  channel.peer.sendContent(channel.id, "basic.get-ok", reply, deliveredContent(queue, entry));
  if (args.noAck) queue.host.release(entry.message);
}

/** `basic.ack`. Throws {@linkcode AmqpError} 406 on a tag that is not outstanding. */
export function acknowledge(channel: Channel, args: MethodArguments<"basic.ack">): void {
  for (const { queue, entry } of takeDeliveries(channel, args.deliveryTag, args.multiple)) {
    queue.host.release(entry.message);
  }
  wakeConsumers(channel);
}

/** `basic.nack` and `basic.reject`. Throws {@linkcode AmqpError} 406 on a tag that is not outstanding. */
export function refuseDelivery(channel: Channel, args: MethodArguments<"basic.nack">): void {
  const taken = takeDeliveries(channel, args.deliveryTag, args.multiple);
  if (args.requeue) requeue(taken);
  else giveUp(taken);
  wakeConsumers(channel);
}

/** `basic.recover`: everything outstanding goes back. Throws {@linkcode AmqpError} 540 without `requeue`. */
export function recover(channel: Channel, args: MethodArguments<"basic.recover">): void {
  if (!args.requeue) throw new AmqpError(540, "requeue=false");
  requeue(takeDeliveries(channel, 0, true));
  wakeConsumers(channel);
}

function giveUp(deliveries: readonly Delivery[]): void {
  for (const { queue, entry } of deliveries) {
    if (queue.deleted) queue.host.release(entry.message);
    else queue.host.deadLetter(queue, entry, "rejected");
  }
}

function checkQuorumPrefetch(channel: Channel, queue: Queue): void {
  if (channel.channelPrefetch > 0) {
    throw new AmqpError(540, `queue '${queue.name}' in vhost '/' does not support global qos`);
  }
  if (channel.prefetch > MAX_QUORUM_PREFETCH) {
    const what = `prefetch count ${channel.prefetch} for queue '${queue.name}' in vhost '/'`;
    throw new AmqpError(406, `${what} is above the ${MAX_QUORUM_PREFETCH} that a quorum queue allows`);
  }
}

function createConsumer(
  channel: Channel,
  queue: Queue,
  tag: string,
  { noAck, exclusive }: MethodArguments<"basic.consume">,
): ChannelConsumer {
  const { peer } = channel;
  const prefetch = channel.prefetch || (queue.args.type === "quorum" ? MAX_QUORUM_PREFETCH : 0);
  const hasRoom = (consumer: ChannelConsumer) =>
    (prefetch === 0 || consumer.unacknowledged < prefetch) &&
    (channel.channelPrefetch === 0 || channel.consumerDeliveries < channel.channelPrefetch);
  const consumer: ChannelConsumer = {
    tag,
    queue,
    exclusive,
    unacknowledged: 0,
    state: "in line",
    canTake: () => !peer.congested() && (noAck || hasRoom(consumer)),
    deliver: (entry) => deliver(channel, consumer, entry, noAck),
    cancelled() {
      channel.consumers.delete(tag);
      if (peer.understandsCancel()) peer.send(channel.id, "basic.cancel", { consumerTag: tag, noWait: true });
    },
  };
  return consumer;
}

function deliver(channel: Channel, consumer: ChannelConsumer, entry: QueueEntry, noAck: boolean): void {
  const { queue } = consumer;
  const deliveryTag = assignDeliveryTag(channel, { queue, entry, consumer }, noAck);
  const { exchange, routingKey } = entry.message;
  const args = {
    consumerTag: consumer.tag,
    deliveryTag,
    redelivered: entry.returns > 0,
    exchange,
    routingKey,
  };
  channel.peer.sendContent(channel.id, "basic.deliver", args, deliveredContent(queue, entry));
  if (noAck) queue.host.release(entry.message);
}
