import { assertEquals } from "@std/assert";
import postgres from "postgres";
import { eventually } from "./eventually.ts";
import { lockSlot, stackSlots, takeStackSlot } from "./stack_slot.ts";
import { shareTestServer, testDatabase } from "./test_postgres.ts";

shareTestServer();

Deno.test("stackSlots() is how often a system fits into a server's connections, and at least once", () => {
  assertEquals([20, 99, 100, 140, 200].map(stackSlots), [1, 1, 2, 3, 4]);
});

Deno.test("takeStackSlot() gives the systems of one file one slot, which is free again after the last of them", async () => {
  for (let round = 0; round < 2; round++) {
    const slots = await Promise.all(Array.from({ length: 20 }, takeStackSlot)); // more than there are
    for (const slot of slots) await slot[Symbol.asyncDispose]();
  }
});

Deno.test("lockSlot() waits while all slots are taken", async () => {
  await using database = await testDatabase();
  const sql = postgres(database.url, { max: 1, onnotice: () => {} });
  const [row] = await sql<{ count: number }[]>`select current_setting('max_connections')::int as count`;
  const taken: AsyncDisposable[] = [];
  for (let slot = 0; slot < stackSlots(row?.count ?? 0); slot++) taken.push(await lockSlot(database.url));

  let isOurs = false;
  const last = lockSlot(database.url).then((slot) => (isOurs = true, slot));
  await eventually("it to have tried all", async () => {
    const { count } = await sql`
      select from pg_stat_activity
      where datname = current_database() and state = 'idle' and query like '%pg_try_advisory_lock%'`;
    return count === taken.length + 1;
  });
  assertEquals(isOurs, false);
  await taken.pop()?.[Symbol.asyncDispose]();
  taken.push(await last);
  await Promise.all(taken.map((slot) => slot[Symbol.asyncDispose]()));
  await sql.end();
});
