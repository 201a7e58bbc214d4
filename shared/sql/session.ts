// A connection for transactions that cost two round trips each.

import postgres from "postgres";
import { endsConnection } from "../process/errors.ts";
import { connect, type Queryable, type SessionOptions, type Statement } from "./connect.ts";
import { connectionLost, type OpenSocket } from "./socket.ts";

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
 *
 * A pool may keep statements back, until the one before them is described, and after a loss sends them over its next
 * connection, outside of any transaction. So this one can make no other: who is lost is replaced.
 */
export function openSession(url: string, options: SessionOptions): Session {
  let connection: Connection | null = null;
  let isBusy = false;

  async function end(): Promise<void> {
    await connection?.end();
    connection = null;
  }

  return {
    async transaction(first, work) {
      if (isBusy) throw new Error("Another transaction is under way on this session");
      isBusy = true;
      try {
        if (connection?.isLost()) await end();
        connection ??= await openConnection(url, options);
        return await connection.transaction(first, work);
      } finally {
        isBusy = false;
      }
    },
    end,
  };
}

type Connection = Session & { isLost(): boolean };

/** Opens a pool with one connection, which can make no other. */
async function openConnection(url: string, options: SessionOptions): Promise<Connection> {
  let isUp = false;
  let isOver = false;
  let onLost = () => {};
  const lose = () => {
    isOver = true;
    onLost();
  };
  const once = (open: OpenSocket) => () => {
    if (isUp) throw connectionLost();
    return open();
  };
  const client = { onclose: lose, max_lifetime: null, backoff: () => 0 };
  const sql = connect(url, { ...options, max: 1 }, client, once);

  /**
   * The result of `work`; rejects when the connection is lost. One at a time waits, with a promise of its own: one promise
   * for as long as the connection lives would keep the results of all that was raced with it (131 MB after 2,000 batches
   * of 100 rows; 6 MB now).
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
   * one. It is lost with any error that is not the server's.
   */
  async function answered<T>(send: () => Promise<T>): Promise<T> {
    if (isOver) throw connectionLost();
    try {
      return await whileUp(send());
    } catch (error) {
      if (endsConnection(error) || !(error instanceof postgres.PostgresError)) lose();
      throw error;
    }
  }

  try {
    await answered(() => sql`select`);
    isUp = true;
  } catch (error) {
    await sql.end({ timeout: 0 });
    throw error;
  }
  return {
    isLost: () => isOver,
    async transaction(first, work) {
      try {
        const [, rows] = await answered(() => Promise.all([sql`begin`, first(sql)]));
        const { value, last } = await whileUp(work(rows));
        await answered(() =>
          Promise.all([...last(sql), sql`commit`].map((statement) => statement.execute()))
        );
        return value;
      } catch (error) {
        if (!isOver) await answered(() => sql`rollback`).catch(lose);
        throw error;
      }
    },
    end: () => sql.end({ timeout: isOver ? 0 : 2 }),
  };
}
