import { assertEquals } from "@std/assert";
import { withTimeout } from "../shared/process/stop.ts";
import { eventually } from "./support/eventually.ts";
import { ask } from "./support/http.ts";
import { ledgerOf, readLedger, settled } from "./support/ledger.ts";
import { placeOrders } from "./support/place_orders.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startCuttableStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

// Of the broker's outage `failure_matrix_test.ts` has a step.
Deno.test("what the database refuses to everybody is nobody's fault: the API says 503, each process says so once, everything waits, and then ends right", async (t) => {
  const logs = await Deno.makeTempDir();
  await using stack = await startCuttableStack({}, { logs, apart: [] });
  const { sql } = stack.db;
  const said = async (name: string, text: string) => {
    const log = await Deno.readTextFile(`${logs}/${name}.log`);
    return log.split("\n").filter((line) => line.includes(text)).length;
  };

  await t.step("an outage", async () => {
    await placeOrders(stack.url, { orders: 300, connections: 16 });
    stack.wires.database.cut();
    await eventually("readiness to say so", async () => (await readiness(stack)).database === "down");
    const { status, headers } = await post(stack);
    assertEquals([status, headers.get("retry-after")], [503, "1"]);
    assertEquals(headers.get("content-type"), "application/problem+json");
    const downSince = Date.now();
    await eventually("a while of outage", () => Date.now() - downSince > 3000); // several tries of everyone
    stack.wires.database.restore();
    await eventually("readiness", async () => (await readiness(stack)).status === "ready");
    await eventually("an order to be accepted", async () => (await post(stack)).status === 201);
    await assertAllRight(stack);
    for (const name of stack.processes.filter((name) => name !== "api")) {
      const away = await said(name, "The database cannot be used");
      assertEquals([away <= 1, await said(name, "The database is back")], [true, away], name);
    }
  });

  await t.step("a grant that is missing for a while", async () => {
    await sql`revoke insert on payments from orderflow_payments`;
    await placeOrders(stack.url, { orders: 50, connections: 4 });
    const isMet = () => said("payments-order-created", "permission denied");
    await eventually("the charging consumer to meet the missing grant", isMet);
    const waitingSince = Date.now();
    await eventually("a few tries more", () => Date.now() - waitingSince > 1500); // one a second at least
    const [spent] = await sql`select count(*)::int as retries from delayed_retries`;
    await sql`grant insert on payments to orderflow_payments`;
    await assertAllRight(stack);
    assertEquals(spent?.retries, 0);
  });

  const silent =
    "connections that go silent: an answer within 15 s, readiness within 10, and a stop all the same";
  await t.step(silent, async () => {
    stack.wires.database.cutSilently();
    const answers = Array.from({ length: 3 }, () => withTimeout(15_000, post(stack)));
    const isDown = async () => (await readiness(stack)).database === "down";
    await eventually("readiness to say so", isDown, 10_000);
    assertEquals((await Promise.all(answers)).map((answer) => answer?.status), [503, 503, 503]);
    stack.wires.database.restore();
    await assertAllRight(stack);
    assertEquals(stack.crashes, [], "processes that did not just wait");
    stack.wires.database.cutSilently();
    await eventually("everybody to wait", isDown, 10_000);
    assertEquals(await Promise.all(stack.processes.map(stack.stop)), stack.processes.map(() => 0));
  });
  await Deno.remove(logs, { recursive: true });
});

const post = ({ url }: TestStack) => ask(url, "POST /ops/scenarios/order-success");
const readiness = async ({ url }: TestStack) => (await ask(url, "GET /readyz")).body;

/** Every order ends with exactly its effects, and nothing became a dead letter. */
async function assertAllRight(stack: TestStack): Promise<void> {
  await settled(stack);
  const ledger = await readLedger(stack.db.sql);
  assertEquals(ledger, ledgerOf({ success: ledger.orders.COMPLETED ?? 0 }));
}
