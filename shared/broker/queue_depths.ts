/**
 * What the broker says of the queues.
 *
 * @module
 */
import type { Channel } from "./connect.ts";
import type { Topology } from "./topology.ts";

/** One queue, as it stands. */
export interface QueueDepth {
  /** The queue's name. */
  readonly queue: string;
  /** Messages that wait; those under way to a consumer are not among them. */
  readonly messages: number;
  /** Consumers that are subscribed. */
  readonly consumers: number;
}

/**
 * Asks for every queue of the topology, by declaring it passively: the one question that AMQP itself answers.
 *
 * Errors: rejects when a queue is missing (the broker closes the channel then) or the channel is gone.
 */
export async function readQueueDepths(channel: Channel, topology: Topology): Promise<QueueDepth[]> {
  const answers = Object.values(topology.queues).map(async ({ name }) => {
    const { messageCount, consumerCount } = await channel.checkQueue(name);
    return { queue: name, messages: messageCount, consumers: consumerCount };
  });
  return await Promise.all(answers);
}
