/**
 * What the broker says of the queues.
 *
 * @module
 */
import type { Channel } from "./connect.ts";
import { orFailAfter } from "../stop.ts";
import type { Topology } from "./topology.ts";

/** How long the broker may take to answer for all queues, in milliseconds. */
const ANSWER_MS = 5000;

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
 * Errors: rejects when a queue is missing (the broker closes the channel then) or the channel is gone, or
 * after 5 s without an answer for each; the channel is good for nothing then.
 */
export async function readQueueDepths(channel: Channel, topology: Topology): Promise<QueueDepth[]> {
  const answers = Object.values(topology.queues).map(async ({ name }) => {
    const { messageCount, consumerCount } = await channel.checkQueue(name);
    return { queue: name, messages: messageCount, consumers: consumerCount };
  });
  return await orFailAfter(
    ANSWER_MS,
    `The broker did not say within ${ANSWER_MS / 1000} s how its queues stand`,
    Promise.all(answers),
  );
}
