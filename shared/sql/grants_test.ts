/**
 * Each role's grants are the least that its statements pass with, and what is not granted is refused.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import postgres from "postgres";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../process/config.ts";
import { connect, type Sql } from "./connect.ts";
import { DATABASE_ROLES, type DatabaseRole, migrate } from "./migrate.ts";
import { type Statements, statementsOf } from "./testdata/role_statements.ts";

shareTestSchema();

const topology = topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));
const statements = (role: DatabaseRole) => statementsOf(role, topology);
const DENIED = "42501";

interface Grant {
  readonly role: DatabaseRole;
  readonly table: string;
  /** Null where the whole table is granted. */
  readonly column: string | null;
  readonly privilege: string;
}

/** What is granted on tables and columns to anybody but their owner; `role` is `-` where it is granted to all. */
async function readGrants({ sql }: TestSchema): Promise<Grant[]> {
  return await sql<Grant[]>`
    select acl.grantee::regrole::text as role, c.relname as table, null as column, privilege_type as privilege
    from pg_class c cross join aclexplode(c.relacl) acl
    where c.relnamespace = 'public'::regnamespace and acl.grantee <> c.relowner
    union all
    select acl.grantee::regrole::text, c.relname, a.attname, acl.privilege_type
    from pg_class c join pg_attribute a on a.attrelid = c.oid cross join aclexplode(a.attacl) acl
    where c.relnamespace = 'public'::regnamespace and acl.grantee <> c.relowner
    order by 1, 2, 4, 3`;
}

const nameOf = ({ role, table, column, privilege }: Grant) =>
  `${privilege} on ${table}${column === null ? "" : `.${column}`} to ${role}`;

/** The first of a role's statements that is refused for want of a privilege; null where all are let through. */
async function firstRefused(sql: Sql, statements: Statements): Promise<string | null> {
  for (const [name, run] of Object.entries(statements)) {
    try {
      await run(sql);
    } catch (error) {
      if (error instanceof postgres.PostgresError && error.code === DENIED) return name;
      throw error;
    }
  }
  return null;
}

Deno.test("every statement of every role is let through", async () => {
  await using db = await testSchema();
  for (const role of DATABASE_ROLES) {
    assertEquals(await firstRefused(db.as(role), statements(role)), null, role);
  }
});

Deno.test("every grant is needed: without it a statement of its role is refused", async () => {
  await using db = await testSchema();
  const grants = await readGrants(db);
  assertEquals(grants.filter(({ role }) => !DATABASE_ROLES.includes(role)), []);
  const pools = new Map(DATABASE_ROLES.map((role) => [role, db.as(role)]));
  const superfluous: string[] = [];
  for (const grant of grants) {
    const { role, table, column, privilege } = grant;
    const what = `${privilege} ${column === null ? "" : `(${column})`} on ${table}`;
    await db.sql.unsafe(`revoke ${what} from ${role}`);
    // A table's SELECT, say, takes those of its columns along.
    const refused = await firstRefused(pools.get(role) ?? db.as(role), statements(role));
    if (refused === null) superfluous.push(nameOf(grant));
    await db.sql.unsafe(`grant ${what} to ${role}`);
  }
  assertEquals(superfluous, []);
  assertEquals(await readGrants(db), grants, "the test has put everything back");
});

Deno.test("what is not granted is refused: every role, table and kind of statement", async () => {
  await using db = await testSchema();
  const grants = await readGrants(db);
  const columns = await db.sql<{ table: string; column: string }[]>`
    select c.relname as table, a.attname as column
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
      and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''`;
  const tables = [...new Set(columns.map(({ table }) => table))];
  for (const role of DATABASE_ROLES) {
    const sql = db.as(role);
    const has = (table: string, privilege: string, column: string | null) =>
      grants.some((grant) =>
        grant.role === role && grant.table === table && grant.privilege === privilege &&
        (grant.column === null || grant.column === column)
      );
    const tries: [table: string, column: string | null, privilege: string, statement: string][] = [
      ...columns.flatMap(({ table, column }): typeof tries => [
        [table, column, "SELECT", `select ${column} from ${table}`],
        [table, column, "UPDATE", `update ${table} set ${column} = default`],
      ]),
      ...tables.flatMap((table): typeof tries => [
        [table, null, "INSERT", `insert into ${table} default values`],
        [table, null, "DELETE", `delete from ${table}`],
        [table, null, "TRUNCATE", `truncate ${table}`],
      ]),
    ];
    for (const [table, column, privilege, statement] of tries) {
      if (!has(table, privilege, column)) await assertDenied(sql, statement, role);
    }
  }
});

Deno.test("what an earlier version granted, and this one does not, is taken back when it is applied", async () => {
  await using db = await testSchema();
  const grants = await readGrants(db);
  await db.sql`grant all on orders, heartbeats to orderflow_payments`;
  await db.sql`grant update (payload) on outbox_events to orderflow_relay`;
  await db.sql`delete from schema_migrations where name like 'roles%'`;
  await migrate(db.url, { roles: true });
  assertEquals(await readGrants(db), grants);
});

Deno.test("no role may make anything, take another's place, or run a function that does more than its caller may", async () => {
  await using db = await testSchema();
  const statements = [
    "create table mine ()",
    "create temporary table mine ()",
    "create schema mine",
    "create function mine() returns int language sql as 'select 1'",
    "create role mine",
    "alter table orders disable trigger all",
    "copy orders to program 'true'",
    "select pg_read_file('/etc/passwd')",
    "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and usename = session_user",
    "alter system set work_mem = '1GB'",
  ];
  for (const role of DATABASE_ROLES) {
    for (const statement of statements) await assertDenied(db.as(role), statement, role);
  }
  const functions = await db.sql`select proname from pg_proc where pronamespace = 'public'::regnamespace`;
  assertEquals(functions.length, 0, "a function may run as its owner, or be found before the system's");
  assertEquals((await db.sql`select from pg_default_acl`).count, 0, "what is made later is granted by hand");
});

Deno.test("a user of its own per process has its module's role alone, and cannot take on another", async () => {
  await using db = await testSchema();
  const user = `orderflow_test_${crypto.randomUUID().slice(0, 8)}`;
  await db.sql.unsafe(`create role ${user} login password 'plain' in role orderflow_payments`);
  const url = new URL(db.url);
  url.username = user;
  url.password = "plain";
  const sql = connect(url.href, { name: "test", role: "orderflow_payments", max: 1 });
  try {
    await migrate(url.href, { roles: true }); // finds nothing to do
    assertEquals(await firstRefused(sql, statements("orderflow_payments")), null);
    for (const role of DATABASE_ROLES.filter((role) => role !== "orderflow_payments")) {
      await assertDenied(sql, `set role ${role}`, user);
    }
    await assertDenied(sql, "update orders set status = 'PAID'", user);
  } finally {
    await sql.end();
    await db.sql.unsafe(`drop role ${user}`);
  }
});

async function assertDenied(sql: Sql, statement: string, role: string): Promise<void> {
  const about = `${role}: ${statement}`;
  const error = await assertRejects(() => sql.unsafe(statement), postgres.PostgresError, undefined, about);
  assertEquals(error.code, DENIED, `${about}: ${error.message}`);
}
