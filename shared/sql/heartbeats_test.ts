import { assertEquals } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { DATABASE_ROLES } from "./connect.ts";
import { beat, forgetHeartbeat, type Heartbeat, listHeartbeats } from "./heartbeats.ts";

shareTestSchema();

function heartbeat(more: Partial<Heartbeat> = {}): Heartbeat {
  return {
    instance: uuidv7(),
    process: "outbox-relay",
    pid: 7,
    version: "1.2.3",
    startedAt: new Date("2026-01-01T00:00:00Z"),
    lastBatchAt: null,
    counts: {},
    ...more,
  };
}

Deno.test("beat() writes one row for a copy, and then what has changed of it", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_relay");
  const first = heartbeat({ counts: { published: 1 } });
  const lastBatchAt = new Date("2026-01-01T00:00:05Z");
  await beat(sql, first);
  await beat(sql, { ...first, counts: { published: 3 }, lastBatchAt });
  await beat(sql, heartbeat({ process: "api" }));
  const [api, relay, ...others] = await listHeartbeats(db.as("orderflow_ops"));
  assertEquals([api?.process, others], ["api", []]);
  const { seenAt: _, ageMs, host, ...said } = relay ?? { ageMs: -1 };
  assertEquals(host, "127.0.0.1");
  assertEquals(said, { ...first, counts: { published: 3 }, lastBatchAt });
  assertEquals(ageMs >= 0 && ageMs < 60_000, true);
});

Deno.test("forgetHeartbeat() takes a copy's row away, and no other's", async () => {
  await using db = await testSchema();
  const [gone, stays] = [heartbeat(), heartbeat()];
  for (const each of [gone, stays]) await beat(db.sql, each);
  await forgetHeartbeat(db.sql, gone.instance);
  assertEquals((await listHeartbeats(db.sql)).map(({ instance }) => instance), [stays.instance]);
});

Deno.test("beat() forgets who has been silent for ten minutes, and listHeartbeats() does not show them", async () => {
  await using db = await testSchema();
  const [silent, quiet, alive] = [heartbeat(), heartbeat(), heartbeat()];
  for (const each of [silent, quiet]) await beat(db.sql, each);
  const age = (instance: string, minutes: number) =>
    db.sql`update heartbeats set seen_at = now() - ${minutes}::int * interval '1 minute' where instance = ${instance}`;
  await age(silent.instance, 11);
  await age(quiet.instance, 9);
  assertEquals((await listHeartbeats(db.sql)).map(({ instance }) => instance), [quiet.instance]);
  await beat(db.sql, alive);
  const rows = await db.sql`select instance from heartbeats`;
  assertEquals(rows.map(({ instance }) => instance).toSorted(), [quiet.instance, alive.instance].toSorted());
});

Deno.test("every process' role may write its heartbeat; ops and retention may not", async () => {
  await using db = await testSchema();
  const may = await Promise.all(DATABASE_ROLES.map(async (role) => {
    const own = heartbeat();
    const wrote = await beat(db.as(role), own).then(() => forgetHeartbeat(db.as(role), own.instance))
      .then(() => true, () => false);
    return [role, wrote] as const;
  }));
  assertEquals(may.filter(([, wrote]) => !wrote).map(([role]) => role), [
    "orderflow_ops",
    "orderflow_retention",
  ]);
});
