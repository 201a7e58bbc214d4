import { z } from "zod";
import { eventually } from "../support/eventually.ts";
import { testTopology } from "../support/test_broker.ts";
import { shareTestSchema, testSchema } from "../support/test_schema.ts";
import { startStack, type TestStack } from "../support/test_stack.ts";
import { ordersEnd, ordersSurvive, ordersWait, RECOVERY_MS } from "./load.ts";
import { type RabbitCluster, type RabbitNode, startRabbitCluster } from "./rabbitmq_cluster.ts";

shareTestSchema();

/** Nothing that the cluster has confirmed may be lost, so nothing may have to be sent again. */
const NO_RECONCILIATION = { OUTBOX_RECONCILE_AFTER_MS: "86400000" };

Deno.test("three nodes of RabbitMQ are killed and restarted under load: no order is lost, doubled or stuck", async () => {
  await using cluster = await startRabbitCluster(["one@localhost", "two@localhost", "three@localhost"]);
  await using db = await testSchema();
  const broker = { url: cluster.url, ...testTopology() };
  await using stack = await startStack(NO_RECONCILIATION, { services: { db, broker } });
  await ordersSurvive(stack, async () => {
    await allOnline(stack, cluster);
    await losingNodes(stack, cluster);
    await losingTouch(stack, cluster);
    await runningOutOfMemory(stack, cluster);
    await rollingRestart(stack, cluster);
  });
});

/**
 * The node with the leader of a queue is killed: the other two elect another one, and the work goes on. Then the relay's as
 * well: orders wait in the outbox for a majority.
 */
async function losingNodes(stack: TestStack, cluster: RabbitCluster): Promise<void> {
  const { name } = stack.broker.topology.queues.paymentsOrderCreated;
  const queues = await readQueues(cluster);
  const leader = nodeNamed(cluster, queues.find((queue) => queue.name === name)?.leader);
  await leader.kill();
  await ordersEnd(stack, `without ${leader.name}, a leader`);
  const [another] = cluster.nodes.filter((node) => node !== leader);
  const relays = await nodeOf(cluster, "orderflow outbox-relay", another);
  await relays.kill();
  await ordersWait(stack, "without a majority");
  await Promise.all([leader.start(), relays.start()]);
  await allOnline(stack, cluster);
}

/** The relay's node and the other two hear nothing of one another: it stops by itself, they go on without it. */
async function losingTouch(stack: TestStack, cluster: RabbitCluster): Promise<void> {
  const node = await nodeOf(cluster, "orderflow outbox-relay");
  const [another] = cluster.nodes.filter((each) => each !== node);
  await node.partition(true);
  try {
    await eventually(`the others to miss ${node.name}`, async () => {
      const queues = await readQueues(cluster, another);
      return queues.every(({ online }) => !online.includes(node.name));
    }, RECOVERY_MS);
    await ordersEnd(stack, `while ${node.name} is cut off`);
  } finally {
    await node.partition(false);
  }
  await allOnline(stack, cluster);
}

/** One node is out of memory, by its own measure, so none of them takes a message: orders wait in the outbox. */
async function runningOutOfMemory(stack: TestStack, cluster: RabbitCluster): Promise<void> {
  const node = nodeNamed(cluster, "one@localhost");
  const setMemory = (...most: string[]) =>
    cluster.ask(node, "rabbitmqctl", "set_vm_memory_high_watermark", ...most);
  await setMemory("absolute", "1MB");
  await ordersWait(stack, "while a node is out of memory");
  await setMemory("0.6");
  await ordersEnd(stack, "with memory again");
}

/** One after the other, as an upgrade does it: the next one once every queue has all its members again. */
async function rollingRestart(stack: TestStack, cluster: RabbitCluster): Promise<void> {
  for (const node of cluster.nodes) {
    await node.stop();
    await ordersEnd(stack, `while ${node.name} restarts`);
    await node.start();
    await allOnline(stack, cluster);
  }
}

const QUEUES = z.object({
  name: z.string(),
  type: z.string(),
  leader: z.string(),
  online: z.array(z.string()),
});
const CONNECTIONS = z.object({ port: z.number(), client_properties: z.json() });

/** What there is of these, in the columns that the schema of a row asks for, as a node knows it. */
async function list<T extends z.ZodObject>(
  cluster: RabbitCluster,
  what: string,
  row: T,
  node = nodeNamed(cluster, "one@localhost"),
): Promise<z.infer<T>[]> {
  const columns = Object.keys(row.shape);
  const answer = await cluster.ask(node, "rabbitmqctl", `list_${what}`, ...columns, "--formatter", "json");
  return z.array(row).parse(JSON.parse(answer));
}

const readQueues = (cluster: RabbitCluster, node?: RabbitNode) => list(cluster, "queues", QUEUES, node);

/** Waits until each of the stack's queues is a quorum queue with a member on every node. */
async function allOnline({ broker }: TestStack, cluster: RabbitCluster): Promise<void> {
  const names = Object.values(broker.topology.queues).map(({ name }) => name);
  await eventually("every queue to have all its members", async () => {
    const queues = await readQueues(cluster);
    return names.every((name) => {
      const queue = queues.find((queue) => queue.name === name);
      return queue?.type === "quorum" && queue.online.length === cluster.nodes.length;
    });
  }, RECOVERY_MS);
}

/** The node that has the connection of that name. */
async function nodeOf(cluster: RabbitCluster, connection: string, asked?: RabbitNode): Promise<RabbitNode> {
  const listed = await list(cluster, "connections", CONNECTIONS, asked);
  const its = listed.find((each) => JSON.stringify(each.client_properties).includes(connection));
  return nodeNamed(cluster, cluster.nodes.find(({ port }) => port === its?.port)?.name);
}

function nodeNamed(cluster: RabbitCluster, name: string | undefined): RabbitNode {
  const node = cluster.nodes.find((node) => node.name === name);
  if (!node) throw new Error(`The cluster has no node ${name}`);
  return node;
}
