/**
 * Acknowledges settled deliveries in as few frames as the protocol allows.
 *
 * @module
 */
import type { Channel, ConsumeMessage } from "./connect.ts";
import type { Delivery } from "./delivery.ts";

/** An ack to send: of this delivery tag alone, or of it and every lower one. */
export interface Ack {
  /** The delivery tag, as the channel counts them, from 1. */
  readonly tag: number;
  /** Whether every lower tag that is still unsettled on the channel is acked with it. */
  readonly multiple: boolean;
}

/**
 * The acks for the delivery tags `settled` of a channel on which `outstanding` stay unsettled: one for all that lie
 * below the lowest outstanding tag, one each for the rest. A quorum queue logs every ack as a command of its own, so a
 * batch that is settled whole should cost one.
 */
export function planAcks(settled: readonly number[], outstanding: readonly number[]): Ack[] {
  const lowest = outstanding.reduce((low, tag) => Math.min(low, tag), Infinity);
  const below = settled.filter((tag) => tag < lowest);
  const top = below.reduce((high, tag) => Math.max(high, tag), 0);
  const rest = settled.filter((tag) => tag > lowest).map((tag) => ({ tag, multiple: false }));
  return below.length > 0 ? [{ tag: top, multiple: below.length > 1 }, ...rest] : rest;
}

/**
 * Acks what is settled; `outstanding` is what is not. On a channel that is gone this does nothing: the broker requeues,
 * and the inbox absorbs.
 */
export function ackDeliveries(settled: readonly Delivery[], outstanding: readonly Delivery[]): void {
  for (const [channel, ours] of Map.groupBy(settled, (delivery) => delivery.channel)) {
    const byTag = new Map(ours.map(({ message }) => [message.fields.deliveryTag, message]));
    const others = outstanding.filter((delivery) => delivery.channel === channel);
    for (const { tag, multiple } of planAcks([...byTag.keys()], others.map(tagOf))) {
      const message = byTag.get(tag);
      if (message) ackMessage(channel, message, multiple);
    }
  }
}

function tagOf({ message }: Delivery): number {
  return message.fields.deliveryTag;
}

function ackMessage(channel: Channel, message: ConsumeMessage, multiple: boolean): void {
  try {
    channel.ack(message, multiple);
  } catch (error) {
    if (!(error instanceof Error) || error.name !== "IllegalOperationError") throw error;
  }
}
