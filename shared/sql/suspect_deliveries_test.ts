import { assertEquals } from "@std/assert";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { clearSuspect, countSuspect } from "./suspect_deliveries.ts";

shareTestSchema();

Deno.test("countSuspect() counts per consumer and body, until clearSuspect() forgets it", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_payments");
  const [body, other] = [new Uint8Array([0, 255, 1]), new Uint8Array([0, 255, 2])];
  assertEquals(await countSuspect(sql, "payments", body), 1);
  assertEquals(await countSuspect(sql, "payments", body), 2);
  assertEquals(await countSuspect(sql, "orders", body), 1);
  assertEquals(await countSuspect(sql, "payments", other), 1);
  await clearSuspect(sql, "payments", body);
  assertEquals(await countSuspect(sql, "payments", body), 1);
  assertEquals(await countSuspect(sql, "payments", other), 2);
});
