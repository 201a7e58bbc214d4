// A broker for tests, and a topology of their own on it: the broker that `AMQP_URL` names, or an embedded one.

import { connect } from "amqplib";
import { declareTopology, type Topology as AnyTopology } from "../../shared/broker/connection.ts";
import { createPublisher, toExchange } from "../../shared/broker/publish.ts";
import { startAmqpBroker } from "../../shared/embedded/amqp/server.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { CONSUMED_TYPES, QUEUES, type Topology } from "../../shared/topology.ts";
import { eventually } from "./eventually.ts";

export type TestBroker = Awaited<ReturnType<typeof testBroker>>;

/**
 * A broker with names that no other test uses: `await using broker = await testBroker()` inside a test. Whoever connects
 * declares them; disposing of it deletes what has them.
 */
export async function testBroker() {
  const given = Deno.env.get("AMQP_URL") || undefined; // an empty one counts as unset
  const embedded = given ? null : await startAmqpBroker();
  const url = given ?? embedded?.url ?? "";
  const names = testTopology();
  return {
    url,
    ...names,
    [Symbol.asyncDispose]: (): PromiseLike<void> =>
      embedded ? embedded.stop() : deleteTopology(url, names.topology),
  };
}

/** The names that the queues have where nobody gives them others. */
export const usualTopology = (): Topology => topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));

/** Names that no other test uses, for one exchange and its queues, and the same as environment variables, for processes. */
export function testTopology() {
  const prefix = `test.${crypto.randomUUID().slice(0, 8)}`;
  const env: Record<string, string> = {
    RABBITMQ_EXCHANGE: `${prefix}.events`,
    ...Object.fromEntries(Object.values(QUEUES).map(({ name, env }) => [env, `${prefix}.${name}`])),
  };
  return { topology: topologyOf(readConfig(TOPOLOGY_VARIABLES, (name) => env[name])), env };
}

export type Wire = Awaited<ReturnType<typeof openWire>>;

/** A connection to a test's broker, as those have it who publish: its topology is declared. */
export async function openWire({ url, topology }: { url: string; topology: AnyTopology }) {
  const model = await connect(url);
  const channel = await model.createConfirmChannel();
  await declareTopology(channel, topology);
  return {
    model,
    channel,
    publisher: createPublisher(channel),
    route: toExchange(topology.exchange, CONSUMED_TYPES),
    [Symbol.asyncDispose]: () => model.close().catch(() => {}),
  };
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
    await eventually("every queue to be declared", async () => {
      const channel = await connection.createChannel(); // asking for a queue that is not there closes it
      channel.on("error", () => {}); // told by the question's rejection
      for (const { name } of Object.values(topology.queues)) await channel.checkQueue(name);
      await channel.close();
      return true;
    }, 30_000);
  } finally {
    await connection.close();
  }
  await deleteTopology(url, topology);
}
