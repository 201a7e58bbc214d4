import { assertEquals } from "@std/assert";
import { eventually } from "./support/eventually.ts";
import { countUnfinished, countUnprocessed, readLedger } from "./support/ledger.ts";
import { placeOrders } from "./support/place_orders.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startCuttableStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

const ORDERS = 300;

Deno.test("a database outage is nobody's fault: the API says 503, everything waits, and then ends right", async () => {
  await using stack = await startCuttableStack();
  await placeOrders(stack.url, { orders: ORDERS, connections: 16 });
  stack.wires.database.cut();
  await eventually("readiness to say so", async () => (await readiness(stack)).database === "down");
  const refused = await post(stack);
  assertEquals([refused.status, refused.headers.get("retry-after")], [503, "1"]);
  assertEquals(refused.headers.get("content-type"), "application/problem+json");
  await refused.body?.cancel();
  stack.wires.database.restore();
  await eventually("readiness", async () => (await readiness(stack)).status === "ready");
  await eventually("an order to be accepted", async () => {
    const response = await post(stack);
    await response.body?.cancel();
    return response.status === 201;
  });
  await assertAllRight(stack);
});

Deno.test("while the broker is away orders are accepted, and they end once it is back", async () => {
  await using stack = await startCuttableStack();
  await placeOrders(stack.url, { orders: ORDERS, connections: 16 });
  stack.wires.broker.cut();
  await eventually("readiness to say so", async () => (await readiness(stack)).broker === "down");
  await placeOrders(stack.url, { orders: ORDERS, connections: 16 });
  assertEquals(await countUnfinished(stack.db.sql) >= ORDERS, true);
  stack.wires.broker.restore();
  await assertAllRight(stack);
  const [row] = await stack.db.sql`select max(retry_count) as most from outbox_events`;
  assertEquals(row?.most, 0, "a row was made to pay for the outage");
});

function post({ url }: TestStack): Promise<Response> {
  return fetch(`${url}/ops/scenarios/order-success`, { method: "POST" });
}

async function readiness({ url }: TestStack): Promise<{ status: string; database: string; broker: string }> {
  return await (await fetch(`${url}/readyz`)).json();
}

/** Every order ends with exactly its effects, and nothing became a dead letter. */
async function assertAllRight({ db, broker }: TestStack): Promise<void> {
  const consumers = new Map(
    Object.values(broker.topology.queues).map(({ name, bindings }) => [name, bindings]),
  );
  await eventually("every order to end", async () => await countUnfinished(db.sql) === 0, 30_000);
  await eventually(
    "every event to be processed",
    async () => await countUnprocessed(db.sql, consumers) === 0,
    30_000,
  );
  const { orders, payments, enrollments, notifications, deadLetters } = await readLedger(db.sql);
  const count = orders.COMPLETED ?? 0;
  assertEquals({ orders, payments, enrollments, notifications, deadLetters }, {
    orders: { COMPLETED: count },
    payments: { SUCCEEDED: count },
    enrollments: { GRANTED: count },
    notifications: { ORDER_COMPLETED: count },
    deadLetters: 0,
  });
}
