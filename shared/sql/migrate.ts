// Brings the schema up to date. Migrations are numbered SQL files, applied once each, in order, and never changed.

import { setTimeout as delay } from "node:timers/promises";
import postgres from "postgres";
import { ConfigError } from "../process/config.ts";
import { parseDatabaseUrl } from "../process/database_url.ts";
import { isLockTimeout } from "../process/errors.ts";
import { type Module, MODULES } from "../topology.ts";
import { connect, type Sql, transaction } from "./connect.ts";
import * as texts from "./migrations.ts";
import roles from "./migrations/roles.sql" with { type: "text" };

type Migration = Readonly<Record<"name" | "text", string>>;

/** What stands behind this line of a migration is no part of it: it is granted to a module's role with all others. */
const GRANTS = /^-- grants$/m;

const MIGRATIONS: readonly Migration[] = Object.entries(texts).map(([name, text]) => { // in the order of their names
  return { name, text: text.split(GRANTS, 1).join() };
});

/** The roles that processes take on, one for each module and three more; `migrations/roles.sql` says what each may do. */
export type DatabaseRole = `orderflow_${Module | "relay" | "ops" | "retention"}`;

export const DATABASE_ROLES: readonly DatabaseRole[] = [...MODULES, "relay", "ops", "retention"].map((part) =>
  `orderflow_${part}` as DatabaseRole
);

/** Makes the roles and gives them their grants. Repeatable: applied again whenever it changes. */
const ROLES = [
  `select set_config('orderflow.modules', '${MODULES.join()}', true);`,
  roles,
  ...Object.values(texts).map((text) => text.split(GRANTS)[1] ?? ""),
].join("\n");

/** Any number, the same for every process of this project: the key of the lock under which migrations run. */
const LOCK_KEY = 7_203_114_001;

/** How long a migration waits for a table in use: others queue behind it. Then it lets them pass, and tries again. */
const LOCK_TIMEOUT_MS = 1000;
const MAX_LOCK_TRIES = 30;

/** No pooler has it by itself: that it arrived shows that a session's settings do. In milliseconds. */
const STATEMENT_TIMEOUT_MS = 59_999;

/**
 * Applies what is missing, in one transaction and under a lock: any number of processes may call this at once, one of
 * them does the work and the others find it done. With `roles`, it also creates the roles of the modules and gives them
 * their grants. Where nothing is missing it costs three short queries. What is there and not known here, of a later
 * release, is left alone.
 *
 * Errors: `ConfigError` where the database cannot be worked with as it is; with a message that says what to do, when the
 * user of `url` may not create tables or roles; Postgres's own (55P03) when a table is in use for a whole minute.
 */
export async function migrate(url: string, options: { readonly roles: boolean }): Promise<void> {
  const settings = { lock_timeout: "0" }; // one migrates and the others wait for it; a table is not waited for
  const timeout = { statementTimeoutMs: STATEMENT_TIMEOUT_MS, settings };
  const sql = connect(url, { name: "migrate", role: null, max: 1, ...timeout });
  const wanted = [...MIGRATIONS, ...(options.roles ? [{ name: await fingerprint(ROLES), text: ROLES }] : [])];
  try {
    await checkDatabase(sql).catch(explainConnection);
    if ((await missing(sql, wanted)).length === 0) return;
    for (let tries = 1;; tries++) {
      try {
        return await applyMissing(sql, wanted, url);
      } catch (error) {
        if (!isLockTimeout(error) || tries === MAX_LOCK_TRIES) throw error;
      }
      await delay(LOCK_TIMEOUT_MS);
    }
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** Checks what a session cannot set for itself (`SESSION_SETTINGS` in `connect.ts` has what it can). */
async function checkDatabase(sql: Sql): Promise<void> {
  const [found] = await sql`
    select current_setting('server_encoding') as encoding, current_setting('statement_timeout') as timeout, (
      select min(relnamespace::regnamespace::text) from pg_class
      where relname = 'outbox_events' and relkind = 'r' and to_regclass('public.outbox_events') is null
    ) as schema`;
  if (found?.timeout !== `${STATEMENT_TIMEOUT_MS}ms`) throw new ConfigError(NO_POOLER);
  if (found.encoding !== "UTF8") {
    throw new ConfigError(
      `Cannot start: DATABASE_URL names a database in ${found.encoding}, which cannot hold every text: ` +
        "create database orderflow encoding 'UTF8' template template0;",
    );
  }
  if (found.schema !== null) {
    throw new ConfigError(
      `Cannot start: DATABASE_URL names a database with these tables in the schema ${found.schema}: move them ` +
        `to public (alter table … set schema public), where they belong, or name a database without them`,
    );
  }
}

const NO_POOLER =
  "Cannot start: DATABASE_URL leads to a pooler, such as PgBouncer, that does not pass on a session's " +
  "settings: it must name PostgreSQL itself";

/** An outage is waited out; where no waiting helps, says what to do. */
function explainConnection(error: unknown): never {
  const isPooler = error instanceof postgres.PostgresError && error.message.includes("startup parameter");
  if (isPooler) throw new ConfigError(`${NO_POOLER} (${error.message})`, { cause: error });
  const isForbidden = error instanceof Error &&
    (error.name === "NotCapable" || / EPERM /.test(error.message));
  if (!isForbidden) throw error;
  throw new ConfigError(
    `Cannot start: DATABASE_URL leads to where this process may not go (${error.message}): start it with ` +
      "--allow-net or, for a socket of Unix, with --allow-read and --allow-write",
    { cause: error },
  );
}

async function applyMissing(sql: Sql, wanted: readonly Migration[], url: string): Promise<void> {
  await transaction(sql, async (tx) => {
    await tx`select pg_advisory_xact_lock(${LOCK_KEY})`;
    await tx.unsafe(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
    await tx`
      create table if not exists schema_migrations (name text primary key, applied_at timestamptz not null)`
      .catch((error) => explain(error, "schema_migrations", url));
    for (const { name, text } of await missing(tx, wanted)) {
      await tx.unsafe(text).catch((error) => explain(error, name, url));
      await tx`insert into schema_migrations values (${name}, now())`;
    }
  });
}

async function missing(sql: postgres.ISql, wanted: readonly Migration[]): Promise<readonly Migration[]> {
  const [ledger] = await sql`select to_regclass('schema_migrations') is not null as there`;
  if (!ledger?.there) return wanted;
  const rows = await sql<{ name: string }[]>`select name from schema_migrations`;
  const applied = new Set(rows.map((row) => row.name));
  return wanted.filter(({ name }) => !applied.has(name));
}

/** The roles' file is repeatable: its ledger name changes with its content, which applies it again. */
async function fingerprint(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `roles_${new Uint8Array(digest).toHex().slice(0, 16)}`;
}

const INSUFFICIENT_PRIVILEGE = "42501";

/**
 * Elsewhere an error of class 42 (a missing grant or table) is an outage, which is waited out; a migration that meets one
 * needs somebody to put it right, and says so.
 */
function explain(error: unknown, name: string, url: string): never {
  if (!(error instanceof postgres.PostgresError) || !/^(42|3F)/.test(error.code)) throw error;
  const { user = "<user>" } = parseDatabaseUrl(url);
  const remedy = name.startsWith("roles_") && error.code === INSUFFICIENT_PRIVILEGE
    ? `The user may not create roles. Have a superuser run this once:\n${rolesByHand(user)}\n` +
      "or set DATABASE_ROLES=false, and every process runs as the user of DATABASE_URL, unrestricted."
    : `Give it a database of its own: create database orderflow owner "${user}";`;
  const message = `Cannot apply migration ${name} as "${user}": ${error.message}. ${remedy}`;
  throw new Error(message, { cause: error });
}

/** The statements with which a superuser makes the roles for a user who may not. The grants need no superuser. */
function rolesByHand(user: string): string {
  const create = DATABASE_ROLES.map((role) => `  create role ${role} nologin;\n`).join("");
  return `${create}  grant ${DATABASE_ROLES.join(", ")} to "${user}";`;
}
