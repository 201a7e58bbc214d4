import { assertEquals, assertRejects } from "@std/assert";
import postgres from "postgres";
import { armFaults, type Fault, listArmedFaults, takeFault } from "./faults.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";

shareTestSchema();

const lost: Fault = { point: "delivery.lost", times: 1, consumer: null, correlationId: null, delayMs: null };
const anything = { consumers: [], correlationIds: [] };

Deno.test("ops arms faults, whoever is struck counts them down, and nobody else may", async () => {
  await using db = await testSchema();
  const payments = db.as("orderflow_payments");
  await armFaults(db.as("orderflow_ops"), [lost], new Date());
  await assertDenied(() => armFaults(payments, [lost], new Date()));
  await assertDenied(() => payments`update faults set point = 'delivery.delayed'`);
  await assertDenied(() => listArmedFaults(db.as("orderflow_retention")));
  assertEquals((await takeFault(payments, "delivery.lost", anything))?.times, 0);
  assertEquals(await takeFault(payments, "delivery.lost", anything), undefined);
});

Deno.test("armFaults() arms beside what is armed, which strikes first, and forgets what is long spent", async () => {
  await using db = await testSchema();
  const [past, now] = [new Date(Date.now() - 7_200_000), new Date()];
  await armFaults(db.sql, [lost], past);
  await takeFault(db.sql, "delivery.lost", anything);
  await armFaults(db.sql, [{ ...lost, consumer: "first" }], past);
  await armFaults(db.sql, [lost], now);
  const rows = await db.sql`select remaining, consumer from faults order by id`;
  assertEquals(rows.map((row) => ({ ...row })), [
    { remaining: 1, consumer: "first" },
    { remaining: 1, consumer: null },
  ]);
  const both = { ...anything, consumers: ["first"] };
  assertEquals((await takeFault(db.sql, "delivery.lost", both))?.consumer, "first");
  assertEquals((await takeFault(db.sql, "delivery.lost", both))?.consumer, null);
});

Deno.test("listArmedFaults() leaves out points that this version does not know", async () => {
  await using db = await testSchema();
  await db.sql`
    insert into faults (id, point, remaining, created_at) values (gen_random_uuid(), 'moon.full', 1, now())`;
  assertEquals(await listArmedFaults(db.sql), []);
});

async function assertDenied(run: () => PromiseLike<unknown>): Promise<void> {
  const error = await assertRejects(run, postgres.PostgresError);
  assertEquals(error.code, "42501");
}
