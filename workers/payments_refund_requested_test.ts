import type { ReceivedEvent } from "../shared/events.ts";
import { assertEquals } from "@std/assert";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { countEvents, orderCreated, received } from "../specs/support/test_events.ts";
import { shareTestSchema, testInbox, type TestSchema, testSchema } from "../specs/support/test_schema.ts";
import { charge } from "./payments_order_created.ts";
import { createFakeProvider, type PaymentProvider } from "./payments/provider.ts";
import { refund } from "./payments_refund_requested.ts";

shareTestSchema();

const fake = createFakeProvider({ latencyMs: 0 });

function depsOn(db: TestSchema, consumer: string, provider: PaymentProvider = fake) {
  const sql = db.as("orderflow_payments");
  const inbox = testInbox(sql, consumer);
  return { sql, inbox, provider, concurrency: 4, timeoutMs: 5000, stop: new AbortController().signal };
}

const refundOf = ({ event }: ReceivedEvent) =>
  received("refund.requested", { orderId: event.data.orderId, reason: "no seat left" });

Deno.test("refund() refunds a charge once, whatever is repeated", async () => {
  await using db = await testSchema();
  const orders = [orderCreated(), orderCreated()];
  await charge(depsOn(db, "payments"))(orders);
  const handle = refund(depsOn(db, "refunds"));
  const requests = [...orders, ...orders.slice(0, 1)].map(refundOf); // two for one payment stand in a batch
  assertEquals((await handle(requests)).map(({ kind }) => kind), ["done", "done", "duplicate"]);
  // The same, and other events that ask for the same: the payment's own status is the second guard.
  const repeats = [...requests, ...orders.map(refundOf)];
  assertEquals((await handle(repeats)).map(({ kind }) => kind), repeats.map(() => "duplicate"));
  const payments = await db.sql`select distinct status, refund_reference is not null from payments`.values();
  assertEquals([...payments], [["REFUND_SUCCEEDED", true]]);
  assertEquals((await countEvents(db.sql))["refund.succeeded"], 2);
});

Deno.test("refund() tells of one refund when two copies ask for it at the same moment", async () => {
  await using db = await testSchema();
  const order = orderCreated();
  await charge(depsOn(db, "payments"))([order]);
  const bothAsk = Promise.withResolvers<void>();
  let asked = 0;
  const provider: PaymentProvider = {
    ...fake,
    async refund(request, signal) {
      if (++asked === 2) bothAsk.resolve(); // both have read that the charge stands
      await bothAsk.promise;
      return await fake.refund(request, signal);
    },
  };
  const copies = [1, 2].map(() => refund(depsOn(db, "refunds", provider)));
  const outcomes = await Promise.all(copies.map((handle) => handle([refundOf(order)])));
  assertEquals(outcomes.flat().map(({ kind }) => kind).toSorted(), ["done", "duplicate"]);
  assertEquals((await countEvents(db.sql))["refund.succeeded"], 1);
});

Deno.test("refund() rejects a refund without a charge, and refunds its neighbours", async () => {
  await using db = await testSchema();
  const orders = [undefined, RESERVED_COURSES.paymentFailure, undefined].map((course) =>
    orderCreated(course)
  );
  await charge(depsOn(db, "payments"))(orders.slice(0, 2));
  assertEquals(await refund(depsOn(db, "refunds"))(orders.map(refundOf)), [
    { kind: "done", note: "refunded 49.90" },
    { kind: "rejected", reason: "illegal refund", detail: "the order's payment failed" },
    { kind: "rejected", reason: "illegal refund", detail: "the order has no payment" },
  ]);
});
