/**
 * Connections to Postgres.
 *
 * @module
 */
import postgres from "postgres";

/** A pool of connections; a query on it is a transaction of its own. */
export type Sql = postgres.Sql;

/** A transaction, on a connection of its own until it ends. */
export type Transaction = postgres.TransactionSql;

/** A pool, or a transaction on one of its connections: what a query that may be part of a transaction takes. */
export type Queryable = Sql | Transaction;

/** The roles that processes take on; `shared/sql/migrations/roles.sql` says what each may do. */
export const DATABASE_ROLES = [
  "orderflow_orders",
  "orderflow_payments",
  "orderflow_enrollments",
  "orderflow_notifications",
  "orderflow_relay",
  "orderflow_ops",
  "orderflow_retention",
] as const;

/** One of the roles. */
export type DatabaseRole = (typeof DATABASE_ROLES)[number];

/** How a pool is opened. */
export interface ConnectOptions {
  /** Shown in `pg_stat_activity`, so that a lock or a slow query has a name. */
  readonly name: string;
  /** The role to take on; null stays the user of the URL. */
  readonly role: DatabaseRole | null;
  /** The most connections at once. */
  readonly max: number;
  /** How long one statement may take, in milliseconds (10 s unless told). */
  readonly statementTimeoutMs?: number;
  /** Further settings of the session, such as those of the planner. */
  readonly settings?: Readonly<Record<string, string>>;
}

/**
 * Opens a pool; connections are made when first needed. The role is a start-up parameter, so it holds from the first
 * statement on and is what `RESET ROLE` goes back to. Statements and open transactions are bounded in time: a stuck
 * process must not hold row locks for longer than its peers can wait.
 */
export function connect(url: string, options: ConnectOptions): Sql {
  const statementTimeoutMs = options.statementTimeoutMs ?? 10_000;
  return postgres(url, {
    max: options.max,
    connect_timeout: 5,
    // From 100 ms to 1 s: a pool that reconnects while the server restarts must neither spin nor sleep through it.
    backoff: (attempt: number) => Math.min(0.05 * 2 ** attempt, 1),
    onnotice: () => {},
    fetch_types: false, // no arrays are sent or read as such, so a new connection need not ask for their types
    connection: {
      application_name: `orderflow ${options.name}`,
      statement_timeout: statementTimeoutMs,
      idle_in_transaction_session_timeout: 60_000,
      ...options.settings,
      ...(options.role ? { role: options.role } : {}),
    },
  });
}

/**
 * Rows as one parameter, to be read with `jsonb_to_recordset(${rowset(rows)}::text::jsonb)`: one statement and one
 * prepared plan whatever the number of rows. The cast to text keeps the client from encoding the string once more.
 */
export function rowset(rows: readonly object[]): string {
  return JSON.stringify(rows);
}

/**
 * Ids as one parameter, to be read with `${uuids(ids)}::text::uuid[]`. The client can only encode arrays once it has
 * asked the server for its types, which on a new connection may come after the first query.
 */
export function uuids(ids: readonly string[]): string {
  return `{${ids.join(",")}}`;
}
