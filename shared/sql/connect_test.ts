import { assertEquals, assertRejects } from "@std/assert";
import { startCutProxy } from "../../specs/support/cut_proxy.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { kindOfError } from "../process/errors.ts";
import { transaction } from "./connect.ts";
import { insertingKey, keys, poolOf, works } from "./testdata/probe.ts";

shareTestSchema();

Deno.test("transaction() commits what its work did, or rolls back and rejects with the same", async () => {
  await using db = await testSchema();
  const answer = await transaction(db.sql, async (tx) => {
    await insertingKey(tx, "a");
    return [1, 2];
  });
  assertEquals(answer, [1, 2]);
  const elsewhere = Object.assign(new Error("the broker went"), { code: "ECONNRESET" }); // its own connection is whole
  for (const failure of [new Error("no"), elsewhere]) {
    const error = await assertRejects(() =>
      transaction(db.sql, async (tx) => {
        await insertingKey(tx, "b");
        throw failure;
      })
    );
    assertEquals(error, failure);
  }
  assertEquals(await keys(db.sql), ["a"]);
});

for (const how of ["is cut", "is ended by the server"] as const) {
  Deno.test(`transaction() whose connection ${how} under a statement is an outage, sends no answer to that, and the pool goes on`, async () => {
    await using db = await testSchema();
    await using proxy = startCutProxy(db.url, 5432);
    await using pool = poolOf(proxy.url);
    for (let round = 0; round < 20; round++) {
      const error = await assertRejects(() =>
        transaction(pool.sql, async (tx) => {
          const [backend] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`;
          const slow = tx`select pg_sleep(5)`.catch(() => insertingKey(tx, `answer ${round}`));
          const beside: PromiseLike<unknown>[] = ["beside", "x".repeat(200)].map((key) => {
            return insertingKey(tx, key).execute();
          });
          if (how === "is cut") proxy.cut();
          else beside.push(db.sql`select pg_terminate_backend(${backend?.pid ?? 0})`);
          await Promise.all([slow, ...beside]);
        })
      );
      assertEquals(kindOfError(error), "outage", String(error));
      proxy.restore();
      await eventually("the pool to work", () => works(pool.sql));
    }
    assertEquals(await keys(db.sql), []);
  });
}

Deno.test("transaction() that is lost between two statements sends nothing more, even over the new connection", async () => {
  await using db = await testSchema();
  await using proxy = startCutProxy(db.url, 5432);
  await using pool = poolOf(proxy.url);
  const reconnected = Promise.withResolvers<void>();
  const late = Promise.withResolvers<unknown>();
  const lost = assertRejects(() =>
    transaction(pool.sql, async (tx) => {
      await insertingKey(tx, "before");
      proxy.cut();
      await reconnected.promise;
      try {
        await insertingKey(tx, "after");
      } catch (error) {
        late.resolve(error);
        throw error;
      }
    })
  );
  assertEquals(kindOfError(await lost), "outage");
  proxy.restore();
  await eventually("the pool to work", () => works(pool.sql));
  reconnected.resolve();
  assertEquals(kindOfError(await late.promise), "outage");
  assertEquals([await works(pool.sql), await keys(db.sql)], [true, []]);
});
