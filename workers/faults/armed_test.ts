import { assertEquals } from "@std/assert";
import {
  armFaults,
  type Fault,
  type FaultPoint,
  listArmedFaults,
  replaceFaults,
} from "../../shared/ops/faults.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { watchFaults } from "./armed.ts";

shareTestSchema();

/** What a process knows that looks at the database by way of `sql`. */
const watching = (sql: Sql) => watchFaults(sql, { log: testLog, stop: new AbortController().signal });
const fault = (point: FaultPoint, more: Partial<Fault> = {}): Fault => ({
  point,
  times: 1,
  consumer: null,
  correlationId: null,
  delayMs: null,
  ...more,
});
const target = (correlationId: string, consumer = "payments") => ({
  consumers: [consumer],
  correlationIds: [correlationId],
});

Deno.test("watchFaults() knows what was armed before, and hears of what is armed, taken away and spent", async () => {
  await using db = await testSchema();
  const ops = db.as("orderflow_ops");
  await armFaults(ops, [fault("delivery.lost", { delayMs: 7 })], new Date());
  const faults = await watching(db.as("orderflow_payments"));
  assertEquals((await faults.strike("delivery.lost", target("a")))?.delayMs, 7);
  await eventually("it to be known as spent", async () => !await faults.anyArmed());
  await armFaults(ops, [fault("delivery.lost")], new Date());
  await eventually("the armed fault", () => faults.anyArmed());
  await replaceFaults(ops, [], new Date());
  await eventually("nothing armed", async () => !await faults.anyArmed());
});

Deno.test("a fault strikes exactly as often as it is armed, however many processes meet it at once", async () => {
  await using db = await testSchema();
  await armFaults(db.as("orderflow_ops"), [fault("provider.failing", { times: 7 })], new Date());
  const copies = await Promise.all(
    (["orderflow_payments", "orderflow_orders", "orderflow_relay"] as const)
      .map((role) => watching(db.as(role))),
  );
  const strikes = await Promise.all(
    copies.flatMap((faults) =>
      Array.from({ length: 10 }, (_, i) => faults.strike("provider.failing", target(`c-${i}`)))
    ),
  );
  assertEquals(strikes.filter((struck) => struck !== null).length, 7);
  await eventually("all to know that it is spent", async () => {
    const armed = await Promise.all(copies.map((faults) => faults.anyArmed()));
    return !armed.includes(true);
  });
});

Deno.test("a fault strikes only what it is meant for", async () => {
  await using db = await testSchema();
  const only = { correlationId: 'it\'s "{,}"', consumer: "payments" };
  const others = [{ ...only, correlationId: "z" }, { ...only, consumer: "notifications" }];
  const armed = [...others, { ...only, times: 2 }].map((more) => fault("database.timeout", more));
  await armFaults(db.as("orderflow_ops"), armed, new Date());
  const faults = await watching(db.as("orderflow_payments"));
  assertEquals(await faults.strike("database.timeout", target("other")), null);
  assertEquals(await faults.strike("database.timeout", target(only.correlationId, "orders")), null);
  assertEquals(await faults.strike("provider.slow", target(only.correlationId)), null);
  const batch = { consumers: ["payments"], correlationIds: ["other", only.correlationId] };
  const struck = await faults.strike("database.timeout", batch);
  assertEquals([struck?.times, struck?.correlationId], [1, only.correlationId]);
  assertEquals((await listArmedFaults(db.sql)).map(({ times }) => times), [1, 1, 1]);
});

Deno.test("a fault that cannot be taken does not strike", async () => {
  await using db = await testSchema();
  await armFaults(db.as("orderflow_ops"), [fault("provider.failing")], new Date());
  const sql = db.as("orderflow_payments");
  const faults = await watching(sql);
  await sql.end();
  assertEquals(await faults.strike("provider.failing", target("a")), null);
});
