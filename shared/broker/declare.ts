/**
 * Declares the topology on a broker.
 *
 * @module
 */
import type { Channel } from "./connect.ts";
import { QUEUE_KEYS, type Topology } from "./topology.ts";

/**
 * Declares exchange, queues and bindings. Idempotent, and done by everyone who connects, so that a wiped broker is
 * whole again as soon as one process is back. Quorum queues, because they survive the loss of a node.
 *
 * Errors: rejects when the broker holds one of the names with other properties (406 PRECONDITION_FAILED).
 */
export async function declareTopology(channel: Channel, topology: Topology): Promise<void> {
  await channel.assertExchange(topology.exchange, "topic", { durable: true });
  for (const key of QUEUE_KEYS) {
    const { name, bindings } = topology.queues[key];
    await channel.assertQueue(name, { durable: true, arguments: { "x-queue-type": "quorum" } });
    for (const type of bindings) await channel.bindQueue(name, topology.exchange, type);
  }
}
