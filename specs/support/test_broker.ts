/**
 * A broker for tests, and a topology of their own on it: the broker that `AMQP_URL` names, or an embedded one.
 *
 * @module
 */
import { type ChannelModel, connect } from "amqplib";
import type { Topology as AnyTopology } from "../../shared/broker/connection.ts";
import { startAmqpBroker } from "../../shared/embedded/amqp/server.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { QUEUES, type Topology } from "../../shared/topology.ts";
import { eventually } from "./eventually.ts";

/** A broker with names that no other test uses. Disposing of it deletes what has those names. */
export interface TestBroker extends AsyncDisposable {
  readonly url: string;
  /** The exchange and the queues under those names; whoever connects declares them. */
  readonly topology: Topology;
  /** The same names as environment variables, for processes. */
  readonly env: Record<string, string>;
}

/** Makes a topology of the test's own: `await using broker = await testBroker()` inside a test. */
export async function testBroker(): Promise<TestBroker> {
  const given = Deno.env.get("AMQP_URL") || undefined; // an empty one counts as unset
  const embedded = given ? null : await startAmqpBroker();
  const url = given ?? embedded?.url ?? "";
  const names = testTopology();
  return {
    url,
    ...names,
    async [Symbol.asyncDispose]() {
      if (embedded) await embedded.stop();
      else await deleteTopology(url, names.topology);
    },
  };
}

/** The names that the queues have where nobody gives them others. */
export const usualTopology = (): Topology => topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));

/** Names that no other test uses, for one exchange and its queues. */
export function testTopology(): Pick<TestBroker, "topology" | "env"> {
  const prefix = `test.${crypto.randomUUID().slice(0, 8)}`;
  const env = {
    RABBITMQ_EXCHANGE: `${prefix}.events`,
    ...Object.fromEntries(Object.values(QUEUES).map(({ name, env }) => [env, `${prefix}.${name}`])),
  };
  const topology = topologyOf(
    readConfig(TOPOLOGY_VARIABLES, (name) => new Map(Object.entries(env)).get(name)),
  );
  return { topology, env };
}

/** Deletes the exchange and the queues, with all that is in them. What is not there is fine. */
export async function deleteTopology(url: string, topology: AnyTopology): Promise<void> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  await channel.deleteExchange(topology.exchange);
  for (const { name } of Object.values(topology.queues)) await channel.deleteQueue(name);
  await connection.close();
}

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
