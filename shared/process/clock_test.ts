import { assertEquals, assertRejects } from "@std/assert";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { checkClock, clockAheadMs, isWrong } from "./clock.ts";
import { ConfigError } from "./config.ts";

shareTestSchema();

Deno.test("clockAheadMs() says no more than is certain: an answer that takes long tells little", () => {
  const cases: [sent: number, database: number, answered: number, ahead: number][] = [
    [100, 105, 110, 0],
    [100, 90, 110, 10],
    [100, 130, 110, -20],
    [100, 30_000, 60_000, 0],
  ];
  for (const [sent, database, answered, ahead] of cases) {
    assertEquals(clockAheadMs(sent, database, answered), ahead);
  }
  assertEquals([5000, -5000, 5001, -5001].map(isWrong), [false, false, true, true]);
});

Deno.test("checkClock() lets no process begin whose clock is off by more than everything is kept", async () => {
  await using db = await testSchema();
  const shifted = (days: number) => () => Date.now() + days * 86_400_000;
  for (const days of [0, 13, -13]) await checkClock(db.url, 14, shifted(days));
  for (const [days, says] of [[15, "15.0 days ahead of"], [-20, "20.0 days behind"]] as const) {
    await assertRejects(() => checkClock(db.url, 14, shifted(days)), ConfigError, says);
  }
});
