// Connections to Postgres.

import postgres from "postgres";
import { parseDatabaseUrl } from "../process/database_url.ts";
import { endsConnection } from "../process/errors.ts";
import { connectionLost, createSockets, type Entrance, LONG_GREETING, type OpenSocket } from "./socket.ts";

/** A pool of connections; a query on it is a transaction of its own. */
export type Sql = postgres.Sql;
export type Transaction = postgres.TransactionSql;
/** What a query that may be part of a transaction takes. */
export type Queryable = Sql | Transaction;

/** A row that follows from the event with the id `cause`. */
export type Caused<Row> = Row & { readonly cause: string };

/** Runs `work`, which is one statement, so that all of it happens or nothing. */
export type Atomically = <T>(work: (sql: Queryable) => Promise<T>) => Promise<T>;

/** Runs a statement on the pool itself: it is a transaction of its own. */
export function atomicallyOn(sql: Sql): Atomically {
  return (work) => work(sql);
}

/** A statement. It runs when it is awaited; until then it can be made a part of another one. */
export type Statement<Row extends postgres.MaybeRow = postgres.Row> = postgres.PendingQuery<Row[]>;

/**
 * The planner settings of a pool that only ever looks up rows by their keys. A plan is kept for as long as its connection
 * lives; made while the tables were almost empty, it would read them whole, whatever they have grown to since (2 ms for
 * each order instead of 0.05, with 10,000 orders). These leave one plan: by the index.
 */
export const KEYED_SETTINGS = {
  enable_seqscan: "off",
  enable_hashjoin: "off",
  enable_mergejoin: "off",
} as const;

export interface SessionOptions {
  /** Shown in `pg_stat_activity`, so that a lock or a slow query has a name. */
  readonly name: string;
  /** Null stays the user of the URL. */
  readonly role: string | null;
  readonly statementTimeoutMs?: number;
  readonly settings?: Readonly<Record<string, string>>;
}

export type ConnectOptions = SessionOptions & { readonly max: number };

/** How long one statement may take by default, in milliseconds. */
export const STATEMENT_TIMEOUT_MS = 10_000;

/** How much longer than the server a connection waits for the end of a statement. */
const ANSWER_MARGIN_MS = 2000;

/**
 * How long a statement waits for a lock, in milliseconds. A row that somebody holds costs a queue this much for each halving
 * of a batch (12 s of 250 messages); less than a migration waits for a table would have everybody fail behind it.
 */
const LOCK_TIMEOUT_MS = 1500;

/**
 * What every session needs of the server, whatever the database or the user has been given. `search_path` also keeps
 * whoever may create a schema from putting a table before ours.
 */
const SESSION_SETTINGS = {
  lock_timeout: LOCK_TIMEOUT_MS,
  idle_in_transaction_session_timeout: 60_000,
  jit: "off", // compiling a statement took 400 ms; none of ours runs that long
  search_path: "public",
  default_transaction_isolation: "read committed",
  DateStyle: "ISO",
  TimeZone: "UTC",
  bytea_output: "hex",
} as const;

/**
 * Opens a pool; connections are made when first needed. The role is a start-up parameter, so it holds from the first
 * statement on and is what `RESET ROLE` goes back to. Statements and open transactions are bounded in time: a stuck
 * process must not hold row locks for longer than its peers can wait. `client` are settings of the client for this pool,
 * and `guard` is put around what opens its sockets.
 */
export function connect(
  url: string,
  { name, role, max, statementTimeoutMs = STATEMENT_TIMEOUT_MS, settings }: ConnectOptions,
  client: postgres.Options<never> = {},
  guard = (open: OpenSocket) => open,
): Sql {
  const target = parseDatabaseUrl(url);
  const { user, password, database } = target;
  const patienceMs = statementTimeoutMs + ANSWER_MARGIN_MS;
  const parameters: Entrance["parameters"] = () => ({
    user: sql.options.user,
    database: sql.options.database,
    client_encoding: "UTF8",
    application_name: `orderflow ${name}`,
    statement_timeout: statementTimeoutMs,
    ...SESSION_SETTINGS,
    ...settings,
    ...(role ? { role } : {}),
  });
  // A setting that the client's types leave out, and its README names. It knows where and how to connect, for all servers.
  const socket = { socket: guard(createSockets({ target, patienceMs, parameters })) };
  const sql: Sql = postgres({
    ...socket,
    ...(user ? { user } : {}),
    ...(password ? { password } : {}),
    ...(database ? { database } : {}),
    ssl: false,
    max,
    connect_timeout: 0, // the socket has its own, for each server
    // From 100 ms to 1 s: a pool that reconnects while the server restarts must neither spin nor sleep through it.
    backoff: (attempt: number) => Math.min(0.05 * 2 ** attempt, 1),
    ...client,
    onnotice: () => {},
    fetch_types: false, // no arrays are sent or read as such, so a new connection need not ask for their types
    connection: LONG_GREETING,
  });
  return sql;
}

/**
 * Runs `work` in a transaction: commits when it resolves, rolls back when it rejects. `mode` is what may follow `BEGIN`.
 *
 * It replaces the client's own `begin` because of what that (3.4.9) does when the connection breaks in the middle: it
 * rejects, but lets `work` run on, and sends its next statement, or the `rollback`, to a socket that is gone, which ends
 * the process, or over the connection that has been made anew, outside of any transaction. Here nothing is sent any more:
 * statements of a lost transaction are refused, and its end is not passed on.
 *
 * Errors: what `work` rejects with, or that the connection was lost (`kindOfError` says "outage").
 */
export async function transaction<T>(
  sql: Sql,
  work: (tx: Transaction) => Promise<T>,
  mode: "" | "isolation level repeatable read read only" = "",
): Promise<T> {
  const done: { value?: T } = {};
  let over = false;
  const onFailure = (error: unknown) => {
    if (endsConnection(error)) over = true;
  };
  try {
    await sql.begin(mode, (tx) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const guarded = new Proxy(tx, {
        apply(target, self, args) {
          if (over) throw connectionLost();
          return observed(Reflect.apply(target, self, args), onFailure);
        },
      });
      work(guarded).then((value) => {
        if (over) return;
        done.value = value;
        resolve();
      }, (error) => {
        if (!over) reject(error); // else the client hears of it by itself, and ends the transaction
      });
      return promise;
    });
  } finally {
    over = true;
  }
  return done.value as T;
}

/** Has `onFailure` called ahead of everyone else who waits for `result`, if that is a statement. It is not started. */
function observed(result: unknown, onFailure: (error: unknown) => void): unknown {
  if (!(result instanceof Promise)) return result;
  const then = result.then.bind(result);
  const observing: typeof then = (onFulfilled, onRejected) =>
    then(onFulfilled, (error) => {
      onFailure(error);
      if (onRejected) return onRejected(error);
      throw error;
    });
  return Object.assign(result, { then: observing });
}

/**
 * Rows as one parameter, to be read with `jsonb_to_recordset(${rowset(rows)}::text::jsonb)`: one statement and one
 * prepared plan whatever the number of rows. The cast to text keeps the client from encoding the string once more.
 */
export function rowset(rows: readonly object[]): string {
  return JSON.stringify(rows);
}

/**
 * A text that Postgres can hold: neither a NUL nor half of a surrogate pair. For what a stranger wrote, or may be quoted
 * from it, cut anywhere.
 */
export function storableText(text: string): string {
  return text.replaceAll("\0", "\u{FFFD}").toWellFormed();
}

/**
 * Ids as one parameter, to be read with `${uuids(ids)}::text::uuid[]`. The client can only encode arrays once it has
 * asked the server for its types, which on a new connection may come after the first query.
 */
export function uuids(ids: readonly string[]): string {
  return `{${ids.join(",")}}`;
}
