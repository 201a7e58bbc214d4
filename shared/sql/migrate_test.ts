import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import postgres from "postgres";
import { connect, DATABASE_ROLES, type DatabaseRole, type Sql } from "./connect.ts";
import { isMigrated, migrate } from "./migrate.ts";
import { shareTestServer, testDatabase } from "../../specs/support/test_postgres.ts";
import { testSchema } from "../../specs/support/test_schema.ts";

shareTestServer();

Deno.test("migrate() may be called by any number of processes at once", async () => {
  await using database = await testDatabase();
  await Promise.all(Array.from({ length: 8 }, () => migrate(database.url, { roles: true })));
  const sql = connect(database.url, { name: "test", role: null, max: 1 });
  try {
    assertEquals(await isMigrated(sql), true);
    const ledger = await sql`select name from schema_migrations order by name`;
    assertEquals(ledger.map(({ name }) => String(name).replace(/_[0-9a-f]{16}$/, "")), [
      "001_tables",
      "roles",
    ]);
  } finally {
    await sql.end();
  }
});

Deno.test("migrate() in several databases of one cluster at once shares the roles", async () => {
  await using one = await testDatabase();
  await using two = await testDatabase();
  await Promise.all([migrate(one.url, { roles: true }), migrate(two.url, { roles: true })]);
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
  const sql = connect(url, { name: "test", role: "orderflow_orders", max: 1 });
  try {
    await sql`update orders set status = status`;
    await assertDenied(() => sql`update payments set status = status`, "write payments");
  } finally {
    await sql.end();
  }
};

Deno.test("migrate() tells a user who may not create roles what to do, and works for it without roles", async () => {
  await using database = await testDatabase();
  // Such a user is told of roles that others made, too: here no other test has made them for it.
  await asUser(database, "", async (url, superuser) => {
    const error = await assertRejects(() => migrate(url, { roles: true }), Error);
    assertStringIncludes(error.message, "DATABASE_ROLES=false");
    assertEquals(await isMigrated(superuser), false);
    await migrate(url, { roles: false });
    assertEquals(await isMigrated(superuser), true);

    // What the message says a superuser should run is enough.
    const statements = error.message.split("\n").filter((line) => /^ {2}(create|grant) /.test(line));
    assertEquals(statements.length, 7);
    for (const statement of statements) {
      await superuser.unsafe(statement).catch((error) => assertEquals(error.code, "42710", statement));
    }
    await migrate(url, { roles: true });
    await canWriteOrders(url);
  });
});

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

const OWN_TABLES: Record<DatabaseRole, readonly string[]> = {
  orderflow_orders: ["orders"],
  orderflow_payments: ["payments"],
  orderflow_enrollments: ["enrollments"],
  orderflow_notifications: ["notifications"],
  orderflow_relay: [],
  orderflow_ops: [],
};

Deno.test("each role can write its own module's table and no other module's", async () => {
  await using db = await testSchema();
  const tables = ["orders", "payments", "enrollments", "notifications"];
  for (const [role, own] of Object.entries(OWN_TABLES) as [DatabaseRole, readonly string[]][]) {
    const sql = db.as(role);
    for (const table of tables) {
      const write = () => sql`update ${sql(table)} set id = id`;
      if (own.includes(table)) await write();
      else await assertDenied(write, `${role} writes ${table}`);
      await assertDenied(() => sql`delete from ${sql(table)}`, `${role} deletes from ${table}`);
    }
  }
});

Deno.test("a payments worker cannot write orders, nor read them, nor change what the outbox says", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_payments");
  await assertDenied(() => sql`update orders set status = 'PAID'`, "write orders");
  await assertDenied(() => sql`select * from orders`, "read orders");
  await assertDenied(() => sql`update outbox_events set published_at = now()`, "mark events");
  await assertDenied(() => sql`delete from processed_events`, "forget the inbox");
  await sql`reset role`;
  await assertDenied(() => sql`update orders set status = 'PAID'`, "write orders after a reset");
});

Deno.test("the relay can mark events and not change what they say", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_relay");
  await sql`update outbox_events set published_at = now()`;
  await assertDenied(() => sql`update outbox_events set payload = '{}'`, "change a payload");
  await assertDenied(() => sql`delete from outbox_events`, "delete events");
});

Deno.test("the tables refuse a state without the data that belongs to it", async () => {
  await using db = await testSchema();
  const { sql } = db;
  const id = crypto.randomUUID();
  const at = new Date();
  const bad: Record<string, () => Promise<unknown>> = {
    "payments_charged_has_reference": () =>
      sql`insert into payments values (${id}, ${id}, ${id}, 1, 'SUCCEEDED', 1, null, null, null, ${at}, ${at})`,
    "payments_failed_has_reason": () =>
      sql`insert into payments values (${id}, ${id}, ${id}, 1, 'FAILED', 1, null, null, null, ${at}, ${at})`,
    "payments_refunded_has_reference": () =>
      sql`insert into payments values (${id}, ${id}, ${id}, 1, 'REFUND_SUCCEEDED', 1, 'r', null, null, ${at}, ${at})`,
    "enrollments_failed_has_reason": () =>
      sql`insert into enrollments values (${id}, ${id}, ${id}, 'FAILED', null, ${at}, ${at})`,
    "orders_status_check": () =>
      sql`insert into orders values (${id}, ${id}, ${id}, 1, 'LOST', 'c', ${at}, ${at})`,
    "orders_amount_check": () =>
      sql`insert into orders values (${id}, ${id}, ${id}, 0, 'PENDING', 'c', ${at}, ${at})`,
  };
  for (const [constraint, write] of Object.entries(bad)) {
    const error = await assertRejects(write, postgres.PostgresError);
    assertEquals(error.constraint_name, constraint);
  }
});

async function assertDenied(run: () => PromiseLike<unknown>, what: string): Promise<void> {
  const error = await assertRejects(run, postgres.PostgresError, undefined, `${what} must be denied`);
  assertEquals(error.code, "42501", what);
}
