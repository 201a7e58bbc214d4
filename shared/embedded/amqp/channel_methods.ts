import { AmqpError } from "./amqp_error.ts";
import { type Channel, queueName } from "./channel.ts";
import {
  acknowledge,
  cancelConsumer,
  getMessage,
  recover,
  refuseDelivery,
  setPrefetch,
  startConsumer,
} from "./channel_consume.ts";
import { beginMessage } from "./channel_publish.ts";
import type { Method, MethodArguments } from "./method_codec.ts";
import { purge, type Queue } from "./queue.ts";
import {
  addBinding,
  declareExchange,
  declareQueue,
  deleteExchange,
  deleteQueue,
  findExchange,
  findQueue,
  refuseDefaultExchange,
  removeBinding,
} from "./topology.ts";

/**
 * Does what a method asks of an open channel, and replies.
 *
 * Throws {@linkcode AmqpError} where the channel or the connection must close for it: 503 for a method that only
 * a server sends, 540 for those not served.
 */
export function handleChannelMethod(channel: Channel, method: Method): void {
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
    case "basic.recover-async":
      return recover(channel, method.args);
    case "basic.recover":
      recover(channel, method.args);
      return channel.peer.send(channel.id, "basic.recover-ok", {});
    case "confirm.select":
      return selectConfirms(channel, method.args.noWait);
    case "channel.flow":
      if (!method.args.active) throw new AmqpError(540, "active=false");
      return channel.peer.send(channel.id, "channel.flow-ok", { active: true });
    default:
      return handleTopologyMethod(channel, method);
  }
}

function handleTopologyMethod(channel: Channel, method: Method): void {
  const { broker } = channel;
  const reply = (noWait: boolean, name: TopologyReply) => {
    if (!noWait) channel.peer.send(channel.id, name, {});
  };
  switch (method.name) {
    case "queue.declare":
      return replyToDeclare(channel, method.args);
    case "queue.bind":
      bindQueue(channel, method.args);
      return reply(method.args.noWait, "queue.bind-ok");
    case "queue.unbind":
      unbindQueue(channel, method.args);
      return reply(false, "queue.unbind-ok");
    case "queue.purge": {
      const messageCount = purge(namedQueue(channel, method.args.queue));
      if (!method.args.noWait) channel.peer.send(channel.id, "queue.purge-ok", { messageCount });
      return;
    }
    case "queue.delete":
      return replyToDelete(channel, method.args);
    case "exchange.declare":
      declareExchange(broker, method.args);
      return reply(method.args.noWait, "exchange.declare-ok");
    case "exchange.delete":
      deleteExchange(broker, method.args.exchange, method.args.ifUnused);
      return reply(method.args.noWait, "exchange.delete-ok");
    case "exchange.bind":
      bindExchange(channel, method.args);
      return reply(method.args.noWait, "exchange.bind-ok");
    case "exchange.unbind":
      unbindExchange(channel, method.args);
      return reply(method.args.noWait, "exchange.unbind-ok");
    case "tx.select":
    case "tx.commit":
    case "tx.rollback":
      throw new AmqpError(540, `${method.name}: transactions are not served by the embedded broker`);
    default:
      throw new AmqpError(503, `${method.name} is not for a client to send here`);
  }
}

type TopologyReply =
  | "queue.bind-ok"
  | "queue.unbind-ok"
  | "exchange.declare-ok"
  | "exchange.delete-ok"
  | "exchange.bind-ok"
  | "exchange.unbind-ok";

/** The queue of this name, or the one declared last where the name is empty. */
function namedQueue(channel: Channel, name: string): Queue {
  return findQueue(channel.broker, queueName(channel, name), channel.session);
}

function replyToDeclare(channel: Channel, args: MethodArguments<"queue.declare">): void {
  const name = args.passive && args.queue === "" ? queueName(channel, "") : args.queue;
  const queue = declareQueue(channel.broker, { ...args, queue: name }, channel.session);
  channel.lastQueue = queue.name;
  if (args.noWait) return;
  const counts = { messageCount: queue.ready.length, consumerCount: queue.consumers.size };
  channel.peer.send(channel.id, "queue.declare-ok", { queue: queue.name, ...counts });
}

/** Deleting a queue that is not there is no error, as in RabbitMQ. */
function replyToDelete(channel: Channel, args: MethodArguments<"queue.delete">): void {
  const name = queueName(channel, args.queue);
  let messageCount = 0;
  if (channel.broker.queues.has(name)) {
    const queue = findQueue(channel.broker, name, channel.session);
    const refuse = (why: string) => new AmqpError(406, `queue '${name}' in vhost '/' ${why}`);
    if (args.ifUnused && queue.consumers.size > 0) throw refuse("in use");
    if (args.ifEmpty && queue.ready.length > 0) throw refuse("not empty");
    messageCount = deleteQueue(channel.broker, queue);
  }
  if (!args.noWait) channel.peer.send(channel.id, "queue.delete-ok", { messageCount });
}

function bindQueue(channel: Channel, args: MethodArguments<"queue.bind">): void {
  const queue = namedQueue(channel, args.queue);
  // An empty key beside an empty queue name stands for the queue's name (section 1.7.2.3.3).
  const key = args.queue === "" && args.routingKey === "" ? queue.name : args.routingKey;
  addBinding(channel.broker, findExchange(channel.broker, args.exchange), key, queue);
}

/** Unbinding what is not there is no error, as in RabbitMQ; the same holds for exchanges below. */
function unbindQueue(channel: Channel, args: MethodArguments<"queue.unbind">): void {
  refuseDefaultExchange(args.exchange);
  const name = queueName(channel, args.queue);
  const source = channel.broker.exchanges.get(args.exchange);
  if (!source || !channel.broker.queues.has(name)) return;
  removeBinding(channel.broker, source, args.routingKey, findQueue(channel.broker, name, channel.session));
}

function bindExchange(channel: Channel, args: MethodArguments<"exchange.bind">): void {
  const destination = findExchange(channel.broker, args.destination);
  addBinding(channel.broker, findExchange(channel.broker, args.source), args.routingKey, destination);
}

function unbindExchange(channel: Channel, args: MethodArguments<"exchange.unbind">): void {
  refuseDefaultExchange(args.source);
  refuseDefaultExchange(args.destination);
  const source = channel.broker.exchanges.get(args.source);
  const destination = channel.broker.exchanges.get(args.destination);
  if (source && destination) removeBinding(channel.broker, source, args.routingKey, destination);
}

function selectConfirms(channel: Channel, noWait: boolean): void {
  channel.confirms ??= { published: 0, confirmed: 0 };
  if (!noWait) channel.peer.send(channel.id, "confirm.select-ok", {});
}
