import { assertEquals } from "@std/assert";
import { eventually } from "./support/eventually.ts";
import { readLedger, settled } from "./support/ledger.ts";
import { placeOrders } from "./support/place_orders.ts";
import { wipeBroker } from "./support/test_broker.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack } from "./support/test_stack.ts";

shareTestSchema();

const ORDERS = 500;

Deno.test("wiping the broker in the middle of load costs nothing but a little time", async () => {
  await using stack = await startStack({
    OUTBOX_RECONCILE_INTERVAL_MS: "100",
    OUTBOX_RECONCILE_AFTER_MS: "2000",
  }, { apart: [] });
  const { db, broker } = stack;
  const load = placeOrders(stack.url, { orders: ORDERS, connections: 16 });
  for (const share of [0.3, 0.6]) {
    await eventually(`${share * ORDERS} orders`, async () => {
      const [row] = await db.sql`select count(*)::int as count from orders`;
      return row?.count >= share * ORDERS;
    }, 60_000);
    await wipeBroker(broker.url, broker.topology);
  }
  await load;
  await settled(stack);
  const { orders, payments, enrollments, notifications, deadLetters } = await readLedger(db.sql);
  assertEquals({ orders, payments, enrollments, notifications, deadLetters }, {
    orders: { COMPLETED: ORDERS },
    payments: { SUCCEEDED: ORDERS },
    enrollments: { GRANTED: ORDERS },
    notifications: { ORDER_COMPLETED: ORDERS },
    deadLetters: 0,
  });
});
