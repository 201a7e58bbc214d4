import { assertEquals, assertRejects } from "@std/assert";
import postgres from "postgres";
import { ConfigError } from "../process/config.ts";
import { kindOfError } from "../process/errors.ts";
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

/** A database with a user of its own, made with `attributes`. Disposing of it drops both. */
async function databaseOf(attributes: string) {
  await using resources = new AsyncDisposableStack();
  const database = resources.use(await testDatabase());
  const { sql: superuser } = resources.use(poolOf(database.url));
  const name = `plain_${crypto.randomUUID().slice(0, 8)}`;
  await superuser.unsafe(`create role ${name} login password 'plain' ${attributes}`);
  resources.defer(async () => {
    await superuser.unsafe(
      `reassign owned by ${name} to current_user; drop owned by ${name}; drop role ${name}`,
    );
  });
  await superuser`grant all on schema public to ${superuser(name)}`;
  const url = new URL(database.url);
  url.username = name;
  url.password = "plain";
  const owned = resources.move();
  return { url: url.href, name, superuser, [Symbol.asyncDispose]: () => owned.disposeAsync() };
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
  // Such a user is told of roles that others made, too: here no other test has made them for it.
  await using user = await databaseOf("");
  const { url, superuser } = user;
  const error = await assertRejects(() => migrate(url, { roles: true }), Error, "DATABASE_ROLES=false");
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

Deno.test("migrate() makes the roles as a user who may create roles and is no superuser", async () => {
  await using user = await databaseOf("createrole");
  const { url, name, superuser } = user;
  // On a cluster where a superuser made the roles before, they are not this user's to grant.
  const there = await superuser`select from pg_roles where rolname = 'orderflow_orders'`;
  if (there.count > 0) await superuser.unsafe(`grant ${DATABASE_ROLES.join(", ")} to ${name}`);
  await migrate(url, { roles: true });
  await canWriteOrders(url);
});

Deno.test("migrate() does not wait for what only somebody can put right: it says what to do", async () => {
  await using foreign = await databaseOf("");
  await foreign.superuser`create table orders (anything text)`;
  await using forbidden = await databaseOf("");
  await forbidden.superuser`revoke all on schema public from ${forbidden.superuser(forbidden.name)}`;
  await forbidden.superuser`revoke create on schema public from public`;
  for (const { url } of [foreign, forbidden]) {
    const error = await assertRejects(() => migrate(url, { roles: false }), Error, "a database of its own");
    assertEquals(kindOfError(error), "permanent");
  }
});

Deno.test("whatever a database's settings are, migrate() and every session find what they need", async () => {
  await using database = await testDatabase();
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
  {
    await using superuser = poolOf(database.url);
    await superuser.sql`create schema app`;
    for (const [setting, value] of Object.entries(settings)) {
      await superuser.sql.unsafe(`alter database "${name}" set ${setting} = '${value}'`);
    }
  }
  await migrate(database.url, { roles: true });
  await using pool = poolOf(database.url, { role: "orderflow_orders" });
  const [found] = await pool.sql`
    select '2026-01-02T03:04:05Z'::timestamptz::text as at, '\\x00ff'::bytea::text as bytes, '💥' as text,
           current_setting('transaction_isolation') as isolation, current_setting('lock_timeout') as lock,
           (select relnamespace::regnamespace::text from pg_class where relname = 'orders') as schema`;
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
  const refused = (url: string, why: string) =>
    assertRejects(() => migrate(url, { roles: false }), ConfigError, `Cannot start: DATABASE_URL ${why}`);
  await using pooler = startPooler(database.url);
  await refused(pooler.url, "leads to a pooler, such as PgBouncer");
  await using pool = poolOf(database.url);
  const { sql } = pool;
  await sql`create schema mine`;
  await sql`create table mine.outbox_events ()`;
  await refused(database.url, "names a database with these tables in the schema mine");
  const url = new URL(database.url);
  url.pathname = `latin_${crypto.randomUUID()}`;
  const latin = sql(url.pathname.slice(1));
  const encoded = sql`encoding 'LATIN1' template template0 locale_provider libc lc_collate 'C' lc_ctype 'C'`;
  await sql`create database ${latin} ${encoded}`;
  await refused(url.href, "names a database in LATIN1");
  await sql`drop database ${latin}`;
});

/** As PgBouncer with `ignore_startup_parameters`: of what a client wants of its session only user and database arrive. */
function startPooler(serviceUrl: string) {
  return startCutProxy(serviceUrl, 5432, (greeting) => {
    const words = new TextDecoder().decode(greeting.subarray(8)).split("\0");
    const kept = words.slice(0, 4).map((word) => `${word}\0`).join("");
    const bytes = new TextEncoder().encode(`\0\0\0\0\0\x03\0\0${kept}\0`);
    new DataView(bytes.buffer).setUint32(0, bytes.length);
    return bytes;
  });
}
