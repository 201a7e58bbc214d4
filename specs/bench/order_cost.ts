/**
 * What the database has counted, and the messages that went through the broker.
 *
 * @module
 */
import type { Sql } from "../../shared/sql/connect.ts";

/** What a database has counted so far. A session hands in the last of its own when it ends. */
export interface DatabaseCounts {
  /** Transactions that committed. */
  readonly commits: number;
  /** Rows inserted. */
  readonly inserted: number;
  /** Rows updated. */
  readonly updated: number;
  /** Rows updated in their page without touching an index (HOT). */
  readonly updatedInPlace: number;
  /** Bytes of the server's write-ahead log, whoever wrote them. */
  readonly walBytes: number;
  /** Statements; null where the server does not load `pg_stat_statements`. */
  readonly statements: number | null;
}

/** Reads the counts of the database that `sql` is connected to. */
export async function readDatabaseCounts(sql: Sql): Promise<DatabaseCounts> {
  const [row] = await sql<Omit<DatabaseCounts, "statements">[]>`
    select xact_commit::float8 as commits, tup_inserted::float8 as inserted, tup_updated::float8 as updated,
           (select coalesce(sum(n_tup_hot_upd), 0)::float8 from pg_stat_user_tables) as "updatedInPlace",
           pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as "walBytes"
    from pg_stat_database where datname = current_database()`;
  if (!row) throw new Error("Cannot read what the database has counted: it answered with no row");
  return { ...row, statements: await countStatements(sql) };
}

async function countStatements(sql: Sql): Promise<number | null> {
  const [loaded] = await sql<{ libraries: string }[]>`
    select current_setting('shared_preload_libraries') as libraries`;
  if (!loaded?.libraries.includes("pg_stat_statements")) return null;
  await sql`create extension if not exists pg_stat_statements`;
  const [row] = await sql<{ calls: number }[]>`
    select coalesce(sum(calls), 0)::float8 as calls
    from pg_stat_statements join pg_database on pg_database.oid = dbid where datname = current_database()`;
  return row?.calls ?? 0;
}

/** Messages through the broker. */
export interface MessageCounts {
  /** Events published. */
  readonly published: number;
  /** Bytes of their bodies. */
  readonly publishedBytes: number;
  /** Events processed, once for each consumer. */
  readonly delivered: number;
  /** Bytes of their bodies. */
  readonly deliveredBytes: number;
}

/** Counts the messages by what the outbox and the inbox say; none was sent twice in a flow without failures. */
export async function readMessages(sql: Sql): Promise<MessageCounts> {
  const [row] = await sql<MessageCounts[]>`
    with published as (
      select id, octet_length(payload::text) as bytes from outbox_events where published_at is not null
    )
    select (select count(*)::float8 from published) as published,
           (select coalesce(sum(bytes), 0)::float8 from published) as "publishedBytes",
           count(*)::float8 as delivered, coalesce(sum(bytes), 0)::float8 as "deliveredBytes"
    from processed_events join published on id = event_id`;
  if (!row) throw new Error("Cannot count messages: the database answered with no row");
  return row;
}
