/**
 * A migrated database for the tests of a file, and pools that take on the roles of the processes.
 *
 * @module
 */
import { atomicallyOn, connect, type Sql } from "../../shared/sql/connect.ts";
import type { Inbox } from "../../shared/sql/inbox.ts";
import { type DatabaseRole, migrate } from "../../shared/sql/migrate.ts";
import { openSession, type Session } from "../../shared/sql/session.ts";
import {
  databaseOn,
  RUN_SERVER_VARIABLE,
  shareTestServer,
  type TestDatabase,
  testDatabase,
  type TestServer,
} from "./test_postgres.ts";

/** A database with the project's schema and no rows. Disposing of it closes its pools. */
export interface TestSchema extends AsyncDisposable {
  readonly url: string;
  /** A pool as the owner of everything, for looking. */
  readonly sql: Sql;
  as(role: DatabaseRole): Sql;
  session(role: DatabaseRole): Session;
}

/** The inbox of `consumer` on a pool. Nobody is woken: tests look by themselves. */
export function testInbox(sql: Sql, consumer: string): Inbox {
  return { consumer, atomically: atomicallyOn(sql), wakeUps: { carry: (run) => run(false) } };
}

/** A migrated database on the server of a run, to copy: a third of the time that migrating takes. */
export const MIGRATED = "orderflow_migrated";

/** What a test prepares may be much, on a machine that does much else: longer than a process waits, in milliseconds. */
const OWNER_MS = 60_000;

/** A table beyond it is truncated: what is left of many deleted rows would be in the way of what reads the table whole. */
const LARGE_BYTES = 500_000;

let shared: TestDatabase | undefined;

/**
 * Call at the top of a test file: one migrated database serves its tests, each of which finds it empty. Emptying tables
 * takes a tenth of the time that making a database does; deleting a few rows a hundredth of what `truncate` takes, which
 * makes files anew for every table and index.
 */
export function shareTestSchema(): void {
  shareTestServer();
  Deno.test.beforeAll(async () => {
    const isRun = Deno.env.has(RUN_SERVER_VARIABLE);
    shared = await testDatabase(isRun ? MIGRATED : undefined);
    if (!isRun) await migrate(shared.url, { roles: true });
  });
  Deno.test.afterAll(async () => {
    await shared?.[Symbol.asyncDispose]();
    shared = undefined;
  });
}

/**
 * The file's database, empty: `await using db = await testSchema()` inside a test.
 *
 * Errors: when the file has not called {@linkcode shareTestSchema}.
 */
export async function testSchema(): Promise<TestSchema> {
  if (!shared) throw new Error("Call shareTestSchema() at the top of the test file");
  const schema = schemaAt(shared.url);
  const { sql } = schema;
  const tables = await sql<{ name: string; isLarge: boolean }[]>`
    select tablename as name, pg_table_size(tablename::regclass) > ${LARGE_BYTES} as "isLarge"
    from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'`;
  const large = tables.filter(({ isLarge }) => isLarge).map(({ name }) => name);
  if (large.length > 0) await sql`truncate ${sql(large)} cascade`;
  const names = tables.map(({ name }) => name);
  const deletes = names.map((name) => `${name}_gone as (delete from ${name})`);
  // The lock waits for whoever still writes for the test before. One statement, so that no key to another table is in the way.
  await sql.unsafe(`lock table ${names.join()} in exclusive mode; with ${deletes.join(", ")} select`);
  return schema;
}

/** A migrated database of its own on `server`, or for a test alone; disposing of it drops it. */
export async function ownSchema(server?: TestServer): Promise<TestSchema> {
  await using resources = new AsyncDisposableStack();
  const { url } = resources.use(await (server ? databaseOn(server) : testDatabase()));
  await migrate(url, { roles: true });
  const schema = resources.use(schemaAt(url));
  const owned = resources.move();
  return { ...schema, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Pools on a migrated database, as it is. */
export function schemaAt(url: string, options: { readonly statementTimeoutMs?: number } = {}): TestSchema {
  const pools: Sql[] = [];
  const sessions: Session[] = [];
  const pool = (role: DatabaseRole | null): Sql => {
    const sql = connect(url, {
      name: "test",
      role,
      max: 4,
      ...(role ? {} : { statementTimeoutMs: OWNER_MS, settings: { lock_timeout: "0" } }),
      ...options,
    });
    pools.push(sql);
    return sql;
  };
  const sql = pool(null);
  return {
    url,
    sql,
    as: pool,
    session(role) {
      const session = openSession(url, { name: "test", role });
      sessions.push(session);
      return session;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(sessions.map((session) => session.end()));
      await Promise.all(pools.map((sql) => sql.end({ timeout: 2 })));
    },
  };
}
