/**
 * Losing everything that a broker holds.
 *
 * @module
 */
import { type ChannelModel, connect } from "amqplib";
import type { Topology } from "../../shared/topology.ts";
import { eventually } from "./eventually.ts";
import { deleteTopology } from "./test_broker.ts";

/**
 * Deletes the exchange and all queues, with what is in them, once every queue is there and answers.
 *
 * Deleting a queue while somebody is still declaring it can leave its process behind under its name in RabbitMQ 3.10
 * (`already_started`, `cluster_not_formed` in the broker's log): then nobody can declare it until the broker is
 * restarted. That is the broker's to mend, and not what is tested here.
 *
 * Errors: rejects when the queues are not whole within 30 s, or the broker goes away.
 */
export async function wipeBroker(url: string, topology: Topology): Promise<void> {
  const connection = await connect(url, { noDelay: true });
  try {
    await eventually("every queue to be declared", () => isWhole(connection, topology), 30_000);
  } finally {
    await connection.close();
  }
  await deleteTopology(url, topology);
}

/** Whether every queue is there; asking for one that is not closes the channel, so each try has its own. */
async function isWhole(connection: ChannelModel, topology: Topology): Promise<boolean> {
  const channel = await connection.createChannel();
  channel.on("error", () => {}); // told by the question's rejection
  for (const { name } of Object.values(topology.queues)) await channel.checkQueue(name);
  await channel.close();
  return true;
}
