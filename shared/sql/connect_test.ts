import { assertEquals, assertRejects } from "@std/assert";
import { startCutProxy } from "../../specs/support/cut_proxy.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { kindOfError } from "../process/errors.ts";
import { connect, type Sql, type Transaction, transaction } from "./connect.ts";

shareTestSchema();

Deno.test("transaction() commits what its work did, or rolls back and rejects with the same", async () => {
  await using db = await testSchema();
  const answer = await transaction(db.sql, async (tx) => {
    await insertKey(tx, "a");
    return [1, 2];
  });
  assertEquals(answer, [1, 2]);
  const elsewhere = Object.assign(new Error("the broker went"), { code: "ECONNRESET" }); // its own connection is whole
  for (const failure of [new Error("no"), elsewhere]) {
    const error = await assertRejects(() =>
      transaction(db.sql, async (tx) => {
        await insertKey(tx, "b");
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
          const slow = tx`select pg_sleep(5)`.catch(() => insertKey(tx, `answer ${round}`));
          const beside = [insertKey(tx, "beside"), insertKey(tx, "x".repeat(200))];
          if (how === "is cut") proxy.cut();
          else beside.push(db.sql`select pg_terminate_backend(${backend?.pid ?? 0})`.then(() => {}));
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
      await insertKey(tx, "before");
      proxy.cut();
      await reconnected.promise;
      await insertKey(tx, "after").catch((error) => {
        late.resolve(error);
        throw error;
      });
    })
  );
  assertEquals(kindOfError(await lost), "outage");
  proxy.restore();
  await eventually("the pool to work", () => works(pool.sql));
  reconnected.resolve();
  assertEquals(kindOfError(await late.promise), "outage");
  assertEquals([await works(pool.sql), await keys(db.sql)], [true, []]);
});

async function insertKey(tx: Transaction, key: string): Promise<void> {
  await tx`
    insert into idempotency_keys (key, fingerprint, order_id, created_at)
    values (${key}, sha256('x'), gen_random_uuid(), now())`;
}

async function keys(sql: Sql): Promise<string[]> {
  const rows = await sql<{ key: string }[]>`select key from idempotency_keys order by key`;
  return rows.map(({ key }) => key);
}

/** One connection, so that the one that broke is the one that has to work again. */
function poolOf(url: string): AsyncDisposable & { readonly sql: Sql } {
  const sql = connect(url, { name: "test", role: null, max: 1 });
  return { sql, [Symbol.asyncDispose]: () => sql.end({ timeout: 1 }) };
}

async function works(sql: Sql): Promise<boolean> {
  return await sql`select 1`.then(() => true, () => false);
}
