/**
 * A broker for tests, and a topology of their own on it: the broker that `AMQP_URL` names, or an embedded one.
 *
 * @module
 */
import { connect } from "amqplib";
import { startAmqpBroker } from "../../shared/embedded/amqp/server.ts";
import type { Topology as AnyTopology } from "../../shared/broker/connection.ts";
import { QUEUES, type Topology } from "../../shared/topology.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";

/** A broker with names that no other test uses. Disposing of it deletes what has those names. */
export interface TestBroker extends AsyncDisposable {
  /** Where the broker is, as an AMQP URL. */
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
