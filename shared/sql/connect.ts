/**
 * Connections to Postgres.
 *
 * @module
 */
import postgres from "postgres";
import { endsConnection } from "../process/errors.ts";

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

export type DatabaseRole = (typeof DATABASE_ROLES)[number];

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

/** How a connection is opened. */
export interface SessionOptions {
  /** Shown in `pg_stat_activity`, so that a lock or a slow query has a name. */
  readonly name: string;
  /** Null stays the user of the URL. */
  readonly role: DatabaseRole | null;
  readonly statementTimeoutMs?: number;
  /** Of the session, such as those of the planner. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** How a pool of at most `max` connections is opened. */
export type ConnectOptions = SessionOptions & { readonly max: number };

const STATEMENT_TIMEOUT_MS = 10_000;

/**
 * Opens a pool; connections are made when first needed. The role is a start-up parameter, so it holds from the first
 * statement on and is what `RESET ROLE` goes back to. Statements and open transactions are bounded in time: a stuck
 * process must not hold row locks for longer than its peers can wait.
 */
export function connect(url: string, options: ConnectOptions): Sql {
  return openPool(url, options, {});
}

function openPool(
  url: string,
  options: ConnectOptions,
  client: { readonly onclose?: () => void; readonly max_lifetime?: null },
): Sql {
  return postgres(url, {
    ...client,
    max: options.max,
    connect_timeout: 5,
    // From 100 ms to 1 s: a pool that reconnects while the server restarts must neither spin nor sleep through it.
    backoff: (attempt: number) => Math.min(0.05 * 2 ** attempt, 1),
    onnotice: () => {},
    fetch_types: false, // no arrays are sent or read as such, so a new connection need not ask for their types
    connection: {
      application_name: `orderflow ${options.name}`,
      statement_timeout: options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS,
      idle_in_transaction_session_timeout: 60_000,
      jit: "off", // compiling a statement took 400 ms; none of ours runs that long
      ...options.settings,
      ...(options.role ? { role: options.role } : {}),
    },
  });
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

function connectionLost(): Error {
  const error = new Error("the connection was lost in the middle of the transaction");
  return Object.assign(error, { code: "CONNECTION_CLOSED" });
}

/** A connection of its own, on which one transaction follows the other. */
export interface Session {
  /**
   * Runs a transaction in two round trips: `begin` leaves together with the statement `first`, and `commit` with the
   * statements that `work` makes of its rows. Rolls back when one of them fails, or `work` rejects. Once the connection
   * is lost nothing more is sent, and the next transaction has a new one.
   *
   * Errors: as those of {@linkcode transaction}, and when another transaction is under way.
   */
  transaction<Row extends postgres.MaybeRow, T>(
    first: (sql: Queryable) => Statement<Row>,
    work: (rows: readonly Row[]) => Promise<LastPart<T>>,
  ): Promise<T>;
  end(): Promise<void>;
}

/** How a transaction ends: `last` are the statements that leave together with `commit`, `value` is its result then. */
export interface LastPart<T> {
  readonly value: T;
  readonly last: (sql: Queryable) => readonly { execute(): PromiseLike<unknown> }[];
}

/**
 * Opens a session; its connection is made when first needed. It is a pool of one connection, over which the client sends
 * what it is given without waiting for answers in between. The client's own `begin` waits for its answer, and its
 * `reserve` (3.4.9) never comes back where the connection has yet to be made.
 */
export function openSession(url: string, options: SessionOptions): Session {
  let connection: Connection | null = null;
  let isBusy = false;

  async function run<Row extends postgres.MaybeRow, T>(
    { sql, isLost, lose, whileUp, answered }: Connection,
    first: (sql: Queryable) => Statement<Row>,
    work: (rows: readonly Row[]) => Promise<LastPart<T>>,
  ): Promise<T> {
    try {
      const [, rows] = await answered(() => Promise.all([sql`begin`, first(sql)]));
      const { value, last } = await whileUp(work(rows));
      await answered(() => Promise.all([...last(sql), sql`commit`].map((statement) => statement.execute())));
      return value;
    } catch (error) {
      if (!isLost()) await answered(() => sql`rollback`).catch(lose);
      throw error;
    }
  }

  async function close(): Promise<void> {
    await connection?.sql.end({ timeout: connection.isLost() ? 0 : 2 });
    connection = null;
  }

  return {
    async transaction(first, work) {
      if (isBusy) throw new Error("Another transaction is under way on this session");
      isBusy = true;
      try {
        if (connection?.isLost()) await close();
        connection ??= await openConnection(url, options);
        return await run(connection, first, work);
      } finally {
        isBusy = false;
      }
    },
    end: close,
  };
}

/** How much longer than the server a session waits for the end of a statement. */
const ANSWER_MARGIN_MS = 2000;

type Connection = Awaited<ReturnType<typeof openConnection>>;

/** Opens a pool with one connection; `lose` gives that up. */
async function openConnection(url: string, options: SessionOptions) {
  let isOver = false;
  let onLost = () => {};
  const lose = () => {
    isOver = true;
    onLost();
  };
  const sql = openPool(url, { ...options, max: 1 }, { onclose: lose, max_lifetime: null });
  const answerMs = (options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS) + ANSWER_MARGIN_MS;

  /**
   * The result of `work`; rejects when the connection is lost. One at a time waits, with a promise of its own: one promise
   * for as long as the connection lives would keep the results of all that was raced with it.
   */
  async function whileUp<T>(work: Promise<T>): Promise<T> {
    const { promise: lost, reject } = Promise.withResolvers<never>();
    onLost = () => reject(connectionLost());
    if (isOver) onLost();
    try {
      return await Promise.race([work, lost]);
    } finally {
      onLost = () => {};
    }
  }

  /**
   * Sends statements and answers with what they do. Refuses to once the connection is lost: they would leave over another
   * one. It is lost with any error that is not the server's, and when there is no answer in time.
   */
  async function answered<T>(send: () => Promise<T>): Promise<T> {
    if (isOver) throw connectionLost();
    const timer = setTimeout(lose, answerMs);
    try {
      return await whileUp(send());
    } catch (error) {
      if (endsConnection(error) || !(error instanceof postgres.PostgresError)) lose();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  try {
    await answered(() => sql`select`);
  } catch (error) {
    await sql.end({ timeout: 0 });
    throw error;
  }
  return { sql, isLost: () => isOver, lose, whileUp, answered };
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
