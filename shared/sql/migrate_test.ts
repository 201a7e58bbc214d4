import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import postgres from "postgres";
import { ConfigError } from "../process/config.ts";
import { kindOfError } from "../process/errors.ts";
import { connect, type Sql } from "./connect.ts";
import { DATABASE_ROLES, migrate } from "./migrate.ts";
import { poolOf } from "./testdata/probe.ts";
import { startCutProxy } from "../../specs/support/cut_proxy.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { shareTestServer, testDatabase } from "../../specs/support/test_schema.ts";

shareTestServer();

Deno.test("migrate() may be called by any number of processes at once, in several databases that share the roles", async () => {
  await using one = await testDatabase();
  await using two = await testDatabase();
  await Promise.all(Array.from({ length: 8 }, (_, i) => migrate((i < 2 ? two : one).url, { roles: true })));
  const files = [...Deno.readDirSync(new URL("migrations", import.meta.url))].map(({ name }) => name);
  for (const { url } of [one, two]) {
    await using pool = poolOf(url);
    const ledger = await pool.sql`select name from schema_migrations order by name`;
    const names = ledger.map(({ name }) => String(name).replace(/_[0-9a-f]{16}$/, ""));
    assertEquals(names.map((name) => `${name}.sql`), files.toSorted());
  }
});

Deno.test("migrate() holds nobody up behind a table that it waits for, and goes on once that is free", async () => {
  await using database = await testDatabase();
  await migrate(database.url, { roles: false });
  await using pool = poolOf(database.url);
  await using reader = poolOf(database.url);
  const { sql } = pool;
  await sql`alter table dead_letters drop column resolved_at, drop column resolution`; // as before the migration 003
  await sql`drop index dead_letters_by_event`;
  await sql`delete from schema_migrations where name like '003%'`;
  const isApplied = async () => (await sql`select from schema_migrations where name like '003%'`).count === 1;
  await reader.sql`begin`;
  await reader.sql`select from dead_letters`;
  const migrated = migrate(database.url, { roles: false });
  await eventually("the migration to wait for the reader", async () => {
    const waiting = await sql`select from pg_locks where not granted and mode = 'AccessExclusiveLock'`;
    return waiting.length > 0;
  });
  await sql`select from dead_letters`; // waits behind the migration until that lets go
  assertEquals(await isApplied(), false);
  await reader.sql`commit`;
  await migrated;
  assertEquals(await isApplied(), true);
});

/** Runs `run` with the URL of a user of its own, made with `attributes`. */
async function asUser(
  database: { readonly url: string },
  attributes: string,
  run: (url: string, superuser: Sql) => Promise<void>,
): Promise<void> {
  const name = `plain_${crypto.randomUUID().slice(0, 8)}`;
  const superuser = connect(database.url, { name: "test", role: null, max: 1 });
  try {
    await superuser.unsafe(`create role ${name} login password 'plain' ${attributes}`);
    await superuser`grant all on schema public to ${superuser(name)}`;
    const url = new URL(database.url);
    url.username = name;
    url.password = "plain";
    await run(url.href, superuser);
  } finally {
    await superuser.unsafe(
      `reassign owned by ${name} to current_user; drop owned by ${name}; drop role ${name}`,
    );
    await superuser.end();
  }
}

const canWriteOrders = async (url: string) => {
  await using pool = poolOf(url, { role: "orderflow_orders" });
  await pool.sql`update orders set status = status`;
  const error = await assertRejects(
    () => pool.sql`update payments set status = status`,
    postgres.PostgresError,
  );
  assertEquals(error.code, "42501");
};

Deno.test("migrate() tells a user who may not create roles what to do, and works for it without roles", async () => {
  await using database = await testDatabase();
  // Such a user is told of roles that others made, too: here no other test has made them for it.
  await asUser(database, "", async (url, superuser) => {
    const error = await assertRejects(() => migrate(url, { roles: true }), Error);
    assertStringIncludes(error.message, "DATABASE_ROLES=false");
    const hasTables = async () => (await superuser`select to_regclass('orders') is not null as yes`)[0]?.yes;
    assertEquals(await hasTables(), false);
    await migrate(url, { roles: false });
    assertEquals(await hasTables(), true);

    // What the message says a superuser should run is enough.
    const statements = error.message.split("\n").filter((line) => /^ {2}(create|grant) /.test(line));
    assertEquals(statements.length, DATABASE_ROLES.length + 1);
    for (const statement of statements) {
      await superuser.unsafe(statement).catch((error) => assertEquals(error.code, "42710", statement));
    }
    await migrate(url, { roles: true });
    await canWriteOrders(url);
  });
});

Deno.test("migrate() does not wait for what only somebody can put right: it says what to do", async () => {
  await using foreign = await testDatabase();
  const assertAdvised = async (url: string) => {
    const error = await assertRejects(() => migrate(url, { roles: false }), Error, "a database of its own");
    assertEquals(kindOfError(error), "permanent");
  };
  await using pool = poolOf(foreign.url);
  await pool.sql`create table orders (anything text)`;
  await assertAdvised(foreign.url);

  await using database = await testDatabase();
  await asUser(database, "", async (url, superuser) => {
    await superuser`revoke all on schema public from ${superuser(new URL(url).username)}`;
    await superuser`revoke create on schema public from public`;
    await assertAdvised(url);
  });
});

Deno.test("whatever a database's settings are, migrate() and every session find what they need", async () => {
  await using database = await testDatabase();
  const superuser = connect(database.url, { name: "test", role: null, max: 1 });
  const name = new URL(database.url).pathname.slice(1);
  const settings = {
    datestyle: "German",
    timezone: "America/St_Johns",
    bytea_output: "escape",
    default_transaction_isolation: "serializable",
    search_path: "app",
    statement_timeout: "1ms",
    client_encoding: "LATIN1",
  };
  await superuser`create schema app`;
  for (const [setting, value] of Object.entries(settings)) {
    await superuser.unsafe(`alter database "${name}" set ${setting} = '${value}'`);
  }
  await superuser.end();
  await migrate(database.url, { roles: true });
  const sql = connect(database.url, { name: "test", role: "orderflow_orders", max: 1 });
  const [found] = await sql`
    select '2026-01-02T03:04:05Z'::timestamptz::text as at, '\\x00ff'::bytea::text as bytes, '💥' as text,
           current_setting('transaction_isolation') as isolation, current_setting('lock_timeout') as lock,
           (select relnamespace::regnamespace::text from pg_class where relname = 'orders') as schema`;
  await sql.end();
  assertEquals(found, {
    at: "2026-01-02 03:04:05+00",
    bytes: "\\x00ff",
    text: "💥",
    isolation: "read committed",
    lock: "1500ms",
    schema: "public",
  });
});

Deno.test("migrate() refuses, with what to do, a database that cannot be worked with as it is", async () => {
  await using database = await testDatabase();
  const refused = async (url: string, why: string) => {
    await assertRejects(
      () => migrate(url, { roles: false }),
      ConfigError,
      `Cannot start: DATABASE_URL ${why}`,
    );
  };
  await using pooler = startPooler(database.url);
  await refused(pooler.url, "leads to a pooler, such as PgBouncer");
  const sql = connect(database.url, { name: "test", role: null, max: 1 });
  await sql`create schema mine`;
  await sql`create table mine.outbox_events ()`;
  await refused(database.url, "names a database with these tables in the schema mine");
  const latin = `latin_${crypto.randomUUID()}`;
  await sql`
    create database ${
    sql(latin)
  } encoding 'LATIN1' template template0 locale_provider libc lc_collate 'C' lc_ctype 'C'`;
  const url = new URL(database.url);
  url.pathname = latin;
  await refused(url.href, "names a database in LATIN1");
  await sql`drop database ${sql(latin)}`;
  await sql.end();
});

/** As PgBouncer with `ignore_startup_parameters`: of what a client wants of its session only user and database arrive. */
function startPooler(serviceUrl: string) {
  const proxy = startCutProxy(serviceUrl, 5432, (greeting) => {
    const words = new TextDecoder().decode(greeting.subarray(8)).split("\0");
    const kept = words.slice(0, 4).map((word) => `${word}\0`).join("");
    const bytes = new TextEncoder().encode(`\0\0\0\0\0\x03\0\0${kept}\0`);
    new DataView(bytes.buffer).setUint32(0, bytes.length);
    return bytes;
  });
  return proxy;
}

Deno.test("migrate() makes the roles as a user who may create roles and is no superuser", async () => {
  await using database = await testDatabase();
  await asUser(database, "createrole", async (url, superuser) => {
    const fresh = await superuser`select from pg_roles where rolname = 'orderflow_orders'`;
    // On a cluster where a superuser made the roles before, they are not this user's to grant.
    if (fresh.count > 0) {
      await superuser.unsafe(`grant ${DATABASE_ROLES.join(", ")} to ${new URL(url).username}`);
    }
    await migrate(url, { roles: true });
    await canWriteOrders(url);
  });
});
