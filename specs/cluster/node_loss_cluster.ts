import { assertEquals } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { runAudit } from "../../shared/ops/audit.ts";
import { balance, readBooks, settled } from "../support/ledger.ts";
import { keepOrdering } from "../support/place_orders.ts";
import { eventually } from "../support/eventually.ts";
import { testTopology } from "../support/test_broker.ts";
import { shareTestSchema, testSchema } from "../support/test_schema.ts";
import { startStack, type TestStack } from "../support/test_stack.ts";
import { type RabbitCluster, type RabbitNode, startRabbitCluster } from "./rabbitmq_cluster.ts";

shareTestSchema();

const ORDERS = 2000;
/** Between the first two orders, in milliseconds; more between later ones, see `pace`. */
const FIRST_GAP_MS = 20;
const POLL_MS = 10;
/** With one node gone the others elect leaders and clients reconnect; on a busy machine that may take a while. */
const RECOVERY_MS = 30_000;

/** Nothing that the cluster has confirmed may be lost, so nothing may have to be sent again. */
const NO_RECONCILIATION = { OUTBOX_RECONCILE_AFTER_MS: "86400000" };

Deno.test("three nodes of RabbitMQ are killed and restarted under load: no order is lost, doubled or stuck", async () => {
  await using cluster = await startRabbitCluster(["one@localhost", "two@localhost", "three@localhost"]);
  await using db = await testSchema();
  const broker = { url: cluster.url, ...testTopology() };
  await using stack = await startStack(NO_RECONCILIATION, { services: { db, broker } });
  const over = Promise.withResolvers<void>();
  const load = keepOrdering(stack.url, {
    orders: ORDERS,
    connections: 8,
    gate: pace(over.promise),
    stop: AbortSignal.timeout(180_000),
  });
  await allOnline(stack, cluster);
  try {
    await losingALeader(stack, cluster);
    await losingTheMajority(stack, cluster);
    await rollingRestart(stack, cluster);
  } finally {
    over.resolve();
  }
  const { accepted, answeredTwice, unanswered } = await load;
  await settled(stack);
  const ledger = balance({ accepted, answeredTwice }, await readBooks(db.sql));
  assertEquals({ accepted: accepted.size, unanswered }, { accepted: ORDERS, unanswered: 0 });
  assertEquals(ledger, { lost: 0, duplicated: 0, stuck: 0, wrong: 0 });
  const audit = await runAudit(db.as("orderflow_ops"), broker.topology, { graceSeconds: 0 });
  assertEquals(audit.checks.filter(({ count }) => count > 0), []);
  assertEquals([...await db.sql`select reason, detail from dead_letters`], []);
  assertEquals(stack.crashes, [], "processes that did not just wait");
});

/** The node with the leader of a queue is killed: the other two elect another one, and the work goes on. */
async function losingALeader(stack: TestStack, cluster: RabbitCluster): Promise<void> {
  const { name } = stack.broker.topology.queues.paymentsOrderCreated;
  const queues = await readQueues(cluster);
  const leader = nodeNamed(cluster, queues.find((queue) => queue.name === name)?.leader);
  await leader.kill();
  await ordersEnd(stack, `without ${leader.name}, a leader`);
  await leader.start();
  await allOnline(stack, cluster);
}

/** The node that the relay is connected to is killed, and one more: orders wait in the outbox for a majority. */
async function losingTheMajority(stack: TestStack, cluster: RabbitCluster): Promise<void> {
  const relays = await nodeOf(cluster, "orderflow outbox-relay");
  const [another] = cluster.nodes.filter((node) => node !== relays);
  if (!another) throw new Error("A cluster of one node has no majority to lose");
  await relays.kill();
  await ordersEnd(stack, `without ${relays.name}, the relay's`);
  await another.kill();
  const since = new Date();
  await eventually("orders to be accepted without a majority", async () => {
    const [row] = await stack.db.sql`select count(*)::int as count from orders where created_at > ${since}`;
    return row?.count >= 50;
  }, RECOVERY_MS);
  await Promise.all([relays.start(), another.start()]);
  await allOnline(stack, cluster);
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

/** Waits until an order that was placed from now on is complete. */
async function ordersEnd({ db }: TestStack, when: string): Promise<void> {
  const since = new Date();
  await eventually(`an order to be complete ${when}`, async () => {
    const rows = await db.sql`
      select from orders where created_at > ${since} and status = 'COMPLETED' limit 1`;
    return rows.length > 0;
  }, RECOVERY_MS);
}

const queuesSchema = z.array(
  z.object({ name: z.string(), type: z.string(), leader: z.string(), online: z.array(z.string()) }),
);

async function readQueues(cluster: RabbitCluster): Promise<z.infer<typeof queuesSchema>> {
  const [node] = cluster.nodes;
  if (!node) throw new Error("The cluster has no nodes");
  const columns = ["name", "type", "leader", "online"];
  const answer = await cluster.ask(node, "rabbitmqctl", "list_queues", ...columns, "--formatter", "json");
  return queuesSchema.parse(JSON.parse(answer));
}

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

const connectionsSchema = z.array(
  z.object({ port: z.number(), client_properties: z.json().transform((value) => JSON.stringify(value)) }),
);

/** The node that has the connection of that name. */
async function nodeOf(cluster: RabbitCluster, connection: string): Promise<RabbitNode> {
  const [node] = cluster.nodes;
  if (!node) throw new Error("The cluster has no nodes");
  const columns = ["port", "client_properties"];
  const answer = await cluster.ask(
    node,
    "rabbitmqctl",
    "list_connections",
    ...columns,
    "--formatter",
    "json",
  );
  const connections = connectionsSchema.parse(JSON.parse(answer));
  const port = connections.find(({ client_properties }) => client_properties.includes(connection))?.port;
  return nodeNamed(cluster, cluster.nodes.find((node) => node.port === port)?.name);
}

function nodeNamed(cluster: RabbitCluster, name: string | undefined): RabbitNode {
  const node = cluster.nodes.find((node) => node.name === name);
  if (!node) throw new Error(`The cluster has no node ${name}`);
  return node;
}

/**
 * A gate for the load: an order now and then until `over` resolves, the seldomer the fewer are left, so that there is load
 * however long it takes; then all of the rest at once.
 */
function pace(over: Promise<void>): () => Promise<void> {
  let isOver = false;
  over.then(() => isOver = true);
  let orders = 0;
  let dueAt = performance.now();
  return async () => {
    dueAt += FIRST_GAP_MS * ORDERS / Math.max(ORDERS - orders++, 0);
    const mine = dueAt;
    while (!isOver && performance.now() < mine) await delay(POLL_MS);
  };
}
