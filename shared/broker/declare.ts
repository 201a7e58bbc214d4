/**
 * Declares the topology on a broker.
 *
 * @module
 */
import type { Channel } from "./connect.ts";
import { EXCHANGE, QUEUE_KEYS, QUEUE_OPTIONS, type Topology } from "./topology.ts";

/**
 * Declares exchange, queues and bindings. Idempotent, and done by everyone who connects, so that a wiped broker is
 * whole again as soon as one process is back.
 *
 * Errors: rejects when the broker holds one of the names with other properties (406 PRECONDITION_FAILED).
 */
export async function declareTopology(channel: Channel, topology: Topology): Promise<void> {
  await channel.assertExchange(topology.exchange, EXCHANGE.type, { durable: EXCHANGE.durable });
  for (const key of QUEUE_KEYS) {
    const { name, bindings } = topology.queues[key];
    await channel.assertQueue(name, QUEUE_OPTIONS);
    for (const type of bindings) await channel.bindQueue(name, topology.exchange, type);
  }
}
