import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import postgres from "postgres";
import { databaseOn, shareTestServer, startTestServer, testDatabase } from "./test_postgres.ts";

shareTestServer();

async function query<T>(url: string, run: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    return await run(sql);
  } finally {
    await sql.end();
  }
}

Deno.test("testDatabase() gives each caller an empty database of its own", async () => {
  await using first = await testDatabase();
  await using second = await testDatabase();
  assertNotEquals(first.url, second.url);
  await query(first.url, (sql) => sql`create table t (id int)`);
  const tables = (url: string) =>
    query(url, (sql) => sql`select table_name from information_schema.tables where table_schema = 'public'`);
  assertEquals((await tables(first.url)).length, 1);
  assertEquals((await tables(second.url)).length, 0);
});

Deno.test("testDatabase() drops the database at the end, although somebody is still connected", async () => {
  await using witness = await testDatabase();
  const db = await testDatabase();
  const name = new URL(db.url).pathname.slice(1);
  const sql = postgres(db.url, { max: 1, onnotice: () => {} });
  try {
    await sql`select 1`;
    await db[Symbol.asyncDispose]();
  } finally {
    await sql.end();
  }
  const rows = await query(witness.url, (sql) => sql`select 1 from pg_database where datname = ${name}`);
  assertEquals(rows.length, 0);
});

Deno.test("testDatabase() refuses nothing to its user: roles can be created", async () => {
  await using db = await testDatabase();
  const role = `role_${crypto.randomUUID().replaceAll("-", "")}`;
  await query(db.url, async (sql) => {
    await sql`create role ${sql(role)}`;
    await sql`drop role ${sql(role)}`;
    await assertRejects(() => sql`set role ${sql(role)}`);
  });
});

Deno.test("crash() brings the server back on its port with every commit that was to be kept", async () => {
  const server = await startTestServer({ synchronous_commit: "on" });
  try {
    if (!server.crash) return; // not ours to crash
    await using db = await databaseOn(server);
    await query(db.url, (sql) => sql`create table kept as select 'still here' as value`);
    await server.crash();
    const [row] = await query(db.url, (sql) => sql`select value from kept`);
    assertEquals(row?.value, "still here");
  } finally {
    await server.stop();
  }
});
