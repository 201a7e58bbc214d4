import { assertEquals, assertRejects } from "@std/assert";
import type { HandleBatch } from "../../shared/broker/judge_batch.ts";
import { kindOfError } from "../../shared/errors.ts";
import { transaction } from "../../shared/sql/connect.ts";
import { Crash, fakeFaults } from "../../specs/support/fake_faults.ts";
import { insertOrder, orderCreated } from "../../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import type { Faults } from "./armed_faults.ts";
import { consumerSeams } from "./consumer_faults.ts";

shareTestSchema();

/** A handler that pays its only order in one transaction. */
function payingHandler(
  db: TestSchema,
  id: string,
  faults: Faults | null,
  kind: "done" | "duplicate" = "done",
) {
  const seams = consumerSeams(db.as("orderflow_orders"), "payments", faults);
  const pay: HandleBatch<"order.created"> = async (events) => {
    await transaction(seams.sql, (tx) => tx`update orders set status = 'PAID' where id = ${id}`);
    return events.map(() => ({ kind }));
  };
  return seams.handling(pay);
}

const statusOf = async (db: TestSchema, id: string) =>
  (await db.sql<{ status: string }[]>`select status from orders where id = ${id}`)[0]?.status;

Deno.test("consumerSeams() without faults is what it wraps", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_orders");
  const handle = () => Promise.resolve([]);
  const seams = consumerSeams(sql, "payments", null);
  assertEquals([seams.sql === sql, seams.handling(handle) === handle], [true, true]);
});

Deno.test("consumerSeams() with nothing armed lets everything through", async () => {
  await using db = await testSchema();
  const id = await insertOrder(db.sql, "PENDING");
  assertEquals(await payingHandler(db, id, fakeFaults())([orderCreated()]), [{ kind: "done" }]);
  assertEquals(await statusOf(db, id), "PAID");
});

Deno.test("database.timeout is a true time-out, and leaves nothing behind", async () => {
  await using db = await testSchema();
  const id = await insertOrder(db.sql, "PENDING");
  const handle = payingHandler(db, id, fakeFaults({ point: "database.timeout" }));
  const error = await assertRejects(() => handle([orderCreated()]));
  assertEquals([error instanceof Error && "code" in error && error.code, kindOfError(error)], [
    "57014",
    "transient",
  ]);
  assertEquals(await statusOf(db, id), "PENDING");
  await handle([orderCreated()]);
  assertEquals(await statusOf(db, id), "PAID");
});

Deno.test("consumer.crash-before-commit strikes when all is written and nothing is committed", async () => {
  await using db = await testSchema();
  const id = await insertOrder(db.sql, "PENDING");
  const faults = fakeFaults({ point: "consumer.crash-before-commit", consumer: "payments" });
  const seams = consumerSeams(db.as("orderflow_orders"), "payments", faults);
  let written = 0;
  const handle = seams.handling(async () => {
    await transaction(seams.sql, async (tx) => {
      written = (await tx`update orders set status = 'PAID' where id = ${id}`).count;
    });
    return [];
  });
  await assertRejects(() => handle([orderCreated()]), Crash);
  assertEquals([written, await statusOf(db, id)], [1, "PENDING"]);
});

Deno.test("consumer.crash-after-commit strikes behind the commit", async () => {
  await using db = await testSchema();
  const id = await insertOrder(db.sql, "PENDING");
  const faults = fakeFaults({ point: "consumer.crash-after-commit", correlationId: "test-correlation" });
  await assertRejects(() => payingHandler(db, id, faults)([orderCreated()]), Crash);
  assertEquals(await statusOf(db, id), "PAID");
});

Deno.test("consumer.crash-after-commit spares a batch that committed nothing new", async () => {
  await using db = await testSchema();
  const id = await insertOrder(db.sql, "PENDING");
  const faults = fakeFaults({ point: "consumer.crash-after-commit", correlationId: "test-correlation" });
  await payingHandler(db, id, faults, "duplicate")([orderCreated()]);
  assertEquals(faults.struck, []);
});

Deno.test("consumerSeams() spares other consumers and other correlation ids", async () => {
  await using db = await testSchema();
  const id = await insertOrder(db.sql, "PENDING");
  const faults = fakeFaults(
    { point: "database.timeout", consumer: "orders" },
    { point: "consumer.crash-before-commit", correlationId: "another" },
    { point: "consumer.crash-after-commit", correlationId: "another" },
  );
  await payingHandler(db, id, faults)([orderCreated()]);
  assertEquals([await statusOf(db, id), faults.struck], ["PAID", []]);
});
