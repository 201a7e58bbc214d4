import { assertEquals } from "@std/assert";
import { countEvents, received } from "../specs/support/test_events.ts";
import { shareTestSchema, testInbox, testSchema } from "../specs/support/test_schema.ts";
import { notify } from "./notifications_final_events.ts";

shareTestSchema();

const id = "00000000-0000-0000-0000-0000000000a";

Deno.test("notify() records one notification per outcome, whatever is repeated", async () => {
  await using db = await testSchema();
  const events = [
    received("enrollment.granted", { orderId: `${id}1`, enrollmentId: `${id}1`, courseId: `${id}1` }),
    received("payment.failed", { orderId: `${id}2`, paymentId: `${id}2`, reason: "card declined" }),
    received("refund.succeeded", { orderId: `${id}3`, paymentId: `${id}3` }),
  ];
  const handle = () =>
    notify({ inbox: testInbox(db.as("orderflow_notifications"), "notifications") })(events);
  assertEquals((await handle()).map(({ kind }) => kind), ["done", "done", "done"]);
  await Promise.all([handle(), handle()]);
  await db.sql`delete from processed_events`;
  await handle();
  const rows = await db.sql`select order_id, type from notifications order by order_id`.values();
  assertEquals([...rows], [
    [`${id}1`, "ORDER_COMPLETED"],
    [`${id}2`, "PAYMENT_FAILED"],
    [`${id}3`, "ORDER_REFUNDED"],
  ]);
  assertEquals(await countEvents(db.sql), { "notification.sent": 3 });
});
