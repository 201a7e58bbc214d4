import { assertEquals } from "@std/assert";
import { eventually } from "./support/eventually.ts";
import { countUnfinished, readLedger, settled } from "./support/ledger.ts";
import { placeOrders } from "./support/place_orders.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startCuttableStack, startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

const ORDERS = 300;

Deno.test("a database outage is nobody's fault: the API says 503, each process says so once, everything waits, and then ends right", async () => {
  const logs = await Deno.makeTempDir();
  await using stack = await startCuttableStack({ LOG_LEVEL: "info" }, { logs });
  await placeOrders(stack.url, { orders: ORDERS, connections: 16 });
  stack.wires.database.cut();
  await eventually("readiness to say so", async () => (await readiness(stack)).database === "down");
  const refused = await post(stack);
  assertEquals([refused.status, refused.headers.get("retry-after")], [503, "1"]);
  assertEquals(refused.headers.get("content-type"), "application/problem+json");
  await refused.body?.cancel();
  const downSince = Date.now();
  await eventually("a while of outage", () => Date.now() - downSince > 3000); // several tries of everyone
  stack.wires.database.restore();
  await eventually("readiness", async () => (await readiness(stack)).status === "ready");
  await eventually("an order to be accepted", async () => {
    const response = await post(stack);
    await response.body?.cancel();
    return response.status === 201;
  });
  await assertAllRight(stack);
  assertEquals(stack.crashes, [], "processes that did not just wait");
  for (const name of stack.processes.filter((name) => name !== "api")) {
    const log = await Deno.readTextFile(`${logs}/${name}.log`);
    const saying = (text: string) => log.split("\n").filter((line) => line.includes(text)).length;
    const [away, back] = [saying("The database cannot be used"), saying("The database is back")];
    assertEquals([away <= 1, back], [true, away], `${name} said ${away} times "away", ${back} times "back"`);
  }
  await Deno.remove(logs, { recursive: true });
});

Deno.test("connections to the database that go silent hold nobody up: an answer within 15 s, all ends right, and every process stops", async () => {
  await using stack = await startCuttableStack();
  await placeOrders(stack.url, { orders: 50, connections: 4 });
  stack.wires.database.silence();
  const statuses = Array.from({ length: 3 }, async () => {
    const response = await post(stack, AbortSignal.timeout(15_000));
    await response.body?.cancel();
    return response.status;
  });
  await eventually("readiness to say so", async () => (await readiness(stack)).database === "down", 10_000);
  assertEquals((await Promise.all(statuses)).filter((status) => status !== 201 && status !== 503), []);
  await assertAllRight(stack);
  assertEquals(stack.crashes, []);
  stack.wires.database.silence();
  await eventually("everybody to wait", async () => (await readiness(stack)).database === "down", 10_000);
  assertEquals(await Promise.all(stack.processes.map(stack.stop)), stack.processes.map(() => 0));
});

Deno.test("an API that starts while the database is away answers, says so, and serves once it is there", async () => {
  await using stack = await startCuttableStack({}, { processes: [] });
  stack.wires.database.cut();
  stack.start("api");
  await eventually("the API to answer", () => readiness(stack).then(() => true, () => false));
  assertEquals((await readiness(stack)).database, "down");
  const refused = await post(stack);
  assertEquals([refused.status, refused.headers.get("retry-after")], [503, "1"]);
  await refused.body?.cancel();
  stack.wires.database.restore();
  await eventually("readiness", async () => (await readiness(stack)).status === "ready");
  assertEquals(stack.crashes, []);
});

Deno.test("a grant that is missing for a while is no message's fault: everything waits, and then ends right", async () => {
  const logs = await Deno.makeTempDir();
  await using stack = await startStack({ LOG_LEVEL: "info" }, { apart: [], logs });
  const { sql } = stack.db;
  await sql`revoke insert on payments from orderflow_payments`;
  await placeOrders(stack.url, { orders: 50, connections: 4 });
  await eventually("the charging consumer to meet the missing grant", async () => {
    const log = await Deno.readTextFile(`${logs}/payments-order-created.log`);
    return log.includes("The database cannot be used") && log.includes("permission denied");
  });
  const waitingSince = Date.now();
  await eventually("a few tries more", () => Date.now() - waitingSince > 1500); // one a second at least
  const [spent] = await sql`select count(*)::int as retries from delayed_retries`;
  await sql`grant insert on payments to orderflow_payments`;
  await assertAllRight(stack);
  assertEquals([spent?.retries, stack.crashes], [0, []]);
  await Deno.remove(logs, { recursive: true });
});

Deno.test("while the broker is away orders are accepted, and they end once it is back", async () => {
  await using stack = await startCuttableStack({}, { apart: [] });
  await placeOrders(stack.url, { orders: ORDERS, connections: 16 });
  stack.wires.broker.cut();
  await eventually("readiness to say so", async () => (await readiness(stack)).broker === "down");
  await placeOrders(stack.url, { orders: ORDERS, connections: 16 });
  assertEquals(await countUnfinished(stack.db.sql) >= ORDERS, true);
  stack.wires.broker.restore();
  await assertAllRight(stack);
  const [row] = await stack.db.sql`select max(retry_count) as most from outbox_events`;
  assertEquals(row?.most, 0, "a row was made to pay for the outage");
  assertEquals(stack.crashes, []);
});

function post({ url }: TestStack, signal: AbortSignal | null = null): Promise<Response> {
  return fetch(`${url}/ops/scenarios/order-success`, { method: "POST", signal });
}

async function readiness({ url }: TestStack): Promise<{ status: string; database: string; broker: string }> {
  return await (await fetch(`${url}/readyz`)).json();
}

/** Every order ends with exactly its effects, and nothing became a dead letter. */
async function assertAllRight(stack: TestStack): Promise<void> {
  await settled(stack);
  const { orders, payments, enrollments, notifications, deadLetters } = await readLedger(stack.db.sql);
  const count = orders.COMPLETED ?? 0;
  assertEquals({ orders, payments, enrollments, notifications, deadLetters }, {
    orders: { COMPLETED: count },
    payments: { SUCCEEDED: count },
    enrollments: { GRANTED: count },
    notifications: { ORDER_COMPLETED: count },
    deadLetters: 0,
  });
}
