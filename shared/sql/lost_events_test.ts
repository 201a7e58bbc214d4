import { assertEquals } from "@std/assert";
import { insertPublished, orderCreated } from "../../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { insertCursors, sweepSendings } from "./lost_events.ts";

shareTestSchema();

const at = (minute: number) => new Date(Date.UTC(2026, 0, 1, 0, minute));

/** An `order.created`, published in that minute. */
function publish({ sql }: TestSchema, minute: number): Promise<string> {
  return insertPublished(sql, "order.created", orderCreated().event.data, { at: at(minute) });
}

async function readCursors({ sql }: TestSchema): Promise<Record<string, Date>> {
  const rows = await sql<{ consumer: string; until: Date }[]>`
    select consumer, sent_until as until from reconciliation_cursors`;
  return Object.fromEntries(rows.map(({ consumer, until }) => [consumer, until]));
}

Deno.test("sweepSendings() moves on who is ahead, so that nobody waits for one that is far behind", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_relay");
  const bindings = ["behind", "ahead"].map((consumer) => ({ consumer, type: "order.created" }));
  await insertCursors(sql, bindings, 0);
  for (let minute = 1; minute <= 6; minute++) await publish(db, minute);
  await db.sql`update reconciliation_cursors set sent_until = ${at(4)} where consumer = 'ahead'`;
  const sweep = async () => [...await sweepSendings(sql, bindings, at(10).toISOString(), 3)];

  assertEquals(await sweep(), [{ consumer: "ahead", lost: 2 }]);
  assertEquals((await readCursors(db)).ahead, at(10));
  assertEquals(await sweep(), [{ consumer: "behind", lost: 3 }]);
  assertEquals(await readCursors(db), { ahead: at(10), behind: at(3) });
  await sweep();
  await sweep();
  assertEquals(await readCursors(db), { ahead: at(10), behind: at(10) });
  assertEquals(await sweep(), [], "all are there");
});

Deno.test("sweepSendings() never stops between two sendings of one instant", async () => {
  await using db = await testSchema();
  const bindings = [{ consumer: "a", type: "order.created" }];
  await insertCursors(db.sql, bindings, 0);
  for (const minute of [1, 2, 2, 2, 3]) await publish(db, minute);
  for (const lost of [4, 1]) {
    const swept = await sweepSendings(db.sql, bindings, at(10).toISOString(), 2);
    assertEquals([...swept], [{ consumer: "a", lost }]);
  }
});
