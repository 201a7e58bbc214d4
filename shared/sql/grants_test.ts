// Each role's grants are the least that its statements pass with, and what is not granted is refused. So is what a policy
// or a constraint does not let through.

import { assert, assertEquals, assertRejects } from "@std/assert";
import postgres from "postgres";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { appendEvents, orderCreated } from "../../specs/support/test_events.ts";
import { type DomainEvent, EVENT_TYPES, type EventType } from "../events.ts";
import { MODULES } from "../topology.ts";
import type { Sql } from "./connect.ts";
import { markingProcessed, ownConsumer } from "./inbox.ts";
import { DATABASE_ROLES, type DatabaseRole, migrate } from "./migrate.ts";
import { poolOf } from "./testdata/probe.ts";
import { type Statements, statementsOf } from "./testdata/role_statements.ts";

shareTestSchema();

const DENIED = "42501";

/** `column` is null where the whole table is granted, and `role` is `-` where it is granted to all. */
type Grant = { role: DatabaseRole; table: string; column: string | null; privilege: string };

/** What is granted on tables and columns to anybody but their owner. */
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

/** What is said of the first of a role's statements that is refused; null where all are let through. */
async function firstRefusal(sql: Sql, statements: Statements): Promise<string | null> {
  for (const run of statements) {
    try {
      await run(sql);
    } catch (error) {
      if (error instanceof postgres.PostgresError && error.code === DENIED) return `${error.message}: ${run}`;
      throw error;
    }
  }
  return null;
}

Deno.test("every statement of every role is let through, and every grant is needed: without it one of them is refused", async () => {
  await using db = await testSchema();
  const grants = await readGrants(db);
  const pools = new Map(DATABASE_ROLES.map((role) => [role, db.as(role)]));
  for (const [role, sql] of pools) assertEquals(await firstRefusal(sql, statementsOf(role)), null, role);
  const superfluous: Grant[] = [];
  for (const grant of grants) {
    const { role, table, column, privilege } = grant;
    const what = `${privilege} ${column === null ? "" : `(${column})`} on ${table}`;
    await db.sql.unsafe(`revoke ${what} from ${role}`);
    // A table's SELECT, say, takes those of its columns along.
    const refusal = await firstRefusal(pools.get(role) ?? db.as(role), statementsOf(role));
    if (refusal === null) superfluous.push(grant);
    await db.sql.unsafe(`grant ${what} to ${role}`);
  }
  assertEquals(superfluous, []);
  assertEquals(await readGrants(db), grants, "the test has put everything back");
});

Deno.test("a role may do what it is granted and nothing else, whatever is granted to all or comes with another role", async () => {
  await using db = await testSchema();
  const grants = await readGrants(db);
  const allowed = await db.sql<Grant[]>`
    select role, relname as table, attname as column, privilege
    from pg_class c join pg_attribute a on attrelid = c.oid and attnum > 0 and not attisdropped,
         unnest(string_to_array(${DATABASE_ROLES.join()}, ',')) as role, unnest(array['SELECT', 'INSERT', 'UPDATE']) as privilege
    where relnamespace = 'public'::regnamespace and relkind = 'r' and has_column_privilege(role, c.oid, attname, privilege)
    union all
    select role, relname, null, privilege
    from pg_class c, unnest(string_to_array(${DATABASE_ROLES.join()}, ',')) as role,
         unnest(array['DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) as privilege
    where relnamespace = 'public'::regnamespace and relkind = 'r' and has_table_privilege(role, c.oid, privilege)`;
  const isGranted = ({ role, table, column, privilege }: Grant) =>
    grants.some((grant) =>
      grant.role === role && grant.table === table && grant.privilege === privilege &&
      (grant.column === null || grant.column === column)
    );
  assert(allowed.length > grants.length);
  assertEquals(allowed.filter((one) => !isGranted(one)), []);
  assertEquals(grants.filter(({ role }) => !DATABASE_ROLES.includes(role)), []);
  await assertDenied(db.as("orderflow_payments"), "update orders set status = 'PAID'", "payments");
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
    const sql = db.as(role);
    for (const statement of statements) await assertDenied(sql, statement, role);
    const [back] = await sql.begin(async (tx) => {
      await tx`reset role`;
      return await tx`select current_user::text as role`;
    });
    assertEquals(back?.role, role);
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
  {
    await using pool = poolOf(url.href, { role: "orderflow_payments" });
    await migrate(url.href, { roles: true }); // finds nothing to do
    assertEquals(await firstRefusal(pool.sql, statementsOf("orderflow_payments")), null);
    for (const role of DATABASE_ROLES.filter((role) => role !== "orderflow_payments")) {
      await assertDenied(pool.sql, `set role ${role}`, user);
    }
    await assertDenied(pool.sql, "update orders set status = 'PAID'", user);
  }
  await db.sql.unsafe(`drop role ${user}`);
});

Deno.test("each role can tell of its own module's facts alone: a payments worker cannot grant a seat", async () => {
  await using db = await testSchema();
  const own: Record<string, readonly EventType[]> = {
    orders: ["order.created", "refund.requested"],
    payments: ["payment.succeeded", "payment.failed", "refund.succeeded"],
    enrollments: ["enrollment.granted", "enrollment.failed"],
    notifications: ["notification.sent"],
  };
  assertEquals(Object.values(own).flat().toSorted(), EVENT_TYPES.toSorted());
  for (const module of MODULES) {
    const sql = db.as(`orderflow_${module}`);
    for (const type of EVENT_TYPES) {
      const { event } = orderCreated();
      const tell = () => appendEvents(sql, [{ event: { ...event, type } as DomainEvent, traceparent: null }]);
      if (own[module]?.includes(type)) await tell();
      else await assertRefused(tell, `${module} tells ${type}`);
    }
  }
});

Deno.test("no role can mark the inbox of another one's consumer", async () => {
  await using db = await testSchema();
  const [enrollments, payments] = [db.as("orderflow_enrollments"), db.as("orderflow_payments")];
  assertEquals(await ownConsumer(enrollments, "seats.v1"), "orderflow_enrollments");
  assertEquals(await ownConsumer(payments, "seats.v1"), "orderflow_enrollments", "it was first");
  const id = crypto.randomUUID();
  const mark = (sql: Sql, consumer: string) => markingProcessed(sql, consumer, [id], new Date());
  await mark(enrollments, "seats.v1");
  await mark(enrollments, "seats.v1");
  await mark(payments, "charges.v1");
  await assertRefused(() => mark(payments, "seats.v1"), "mark another one's inbox");
  const taking = "insert into consumer_owners (consumer, owner) values ('refunds', 'orderflow_enrollments')";
  await assertDenied(payments, taking, "take a name for another one");
  const seen = await payments`select consumer from processed_events`;
  assertEquals(seen.map(({ consumer }) => consumer), ["charges.v1"]);
});

Deno.test("the tables refuse a state without the data that belongs to it", async () => {
  await using db = await testSchema();
  const made = "values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid()";
  const order = (status: string, amount: string) =>
    `insert into orders ${made}, '${amount}', '${status}', 'c', now(), now())`;
  const payment = (status: string, amount = "1", reference = "'r'") =>
    `insert into payments ${made}, '${amount}', '${status}', 1, ${reference}, null, null, now(), now())`;
  const replay = (state: string, rest: string) =>
    `insert into replays (id, filter, state, total, already_processed, created_at, rate, started_at, finished_at)
     values (gen_random_uuid(), '{}', '${state}', 1, 0, now(), ${rest})`;
  const bad = {
    payments_charged_has_reference: payment("SUCCEEDED", "1", "null"),
    payments_failed_has_reason: payment("FAILED", "1", "null"),
    payments_refunded_has_reference: payment("REFUND_SUCCEEDED"),
    payments_amount_is_a_number: payment("SUCCEEDED", "NaN"),
    enrollments_failed_has_reason: `insert into enrollments ${made}, 'FAILED', null, now(), now())`,
    orders_status_check: order("LOST", "1"),
    orders_amount_is_a_number: order("PENDING", "NaN"),
    orders_amount_check: order("PENDING", "0"),
    replays_done_is_complete: replay("DONE", "5, now(), now()"),
    replays_cancelled_has_reason: replay("CANCELLED", "null, null, now()"),
    replays_running_is_due: replay("RUNNING", "5, now(), null"),
  };
  for (const [constraint, statement] of Object.entries(bad)) {
    const error = await assertRejects(() => db.sql.unsafe(statement), postgres.PostgresError);
    assertEquals(error.constraint_name, constraint);
  }
});

async function assertDenied(sql: Sql, statement: string, role: string): Promise<void> {
  await assertRefused(() => sql.unsafe(statement), `${role}: ${statement}`);
}

async function assertRefused(run: () => PromiseLike<unknown>, about: string): Promise<void> {
  const error = await assertRejects(run, postgres.PostgresError, undefined, about);
  assertEquals(error.code, DENIED, `${about}: ${error.message}`);
}
