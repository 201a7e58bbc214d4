/**
 * The table `heartbeats`: which processes run, by their own account.
 *
 * @module
 */
import { z } from "zod";
import type { Queryable } from "./connect.ts";

/** What a running copy of a process says of itself. */
export interface Heartbeat {
  /** Which copy: a uuid, new at every start. */
  readonly instance: string;
  /** The process's name, such as `outbox-relay`. */
  readonly process: string;
  /** Its process id on its machine. */
  readonly pid: number;
  /** The version of OrderFlow that it is. */
  readonly version: string;
  /** When it started, by its own clock. */
  readonly startedAt: Date;
  /** When it last settled a batch, by its own clock; null before the first. */
  readonly lastBatchAt: Date | null;
  /** What it has counted since it started. */
  readonly counts: Readonly<Record<string, number>>;
}

/** A heartbeat, and how old it is. */
export interface SeenHeartbeat extends Heartbeat {
  /** The address that it connects to the database from, as the database sees it; `local` for a socket. */
  readonly host: string;
  /** When it came, by the database's clock. */
  readonly seenAt: Date;
  /** How long ago that was when it was read, in milliseconds; both by the database's clock. */
  readonly ageMs: number;
}

/** A process that has been silent for this long is forgotten, in minutes. */
const FORGET_MINUTES = 10;
/** Forgotten with one heartbeat, at most. */
const MAX_FORGOTTEN = 100;
/** Listed at most; a process that crashes again and again leaves a row each time. */
const MAX_LISTED = 200;

/** Writes a heartbeat, in one statement, which also forgets others that have been silent for ten minutes. */
export async function beat(sql: Queryable, heartbeat: Heartbeat): Promise<void> {
  const { instance, process, pid, version, startedAt, lastBatchAt, counts } = heartbeat;
  await sql`
    with forgotten as (
      delete from heartbeats where instance in (
        select instance from heartbeats
        where seen_at < now() - ${FORGET_MINUTES}::int * interval '1 minute' and instance <> ${instance}
        limit ${MAX_FORGOTTEN} for update skip locked
      )
    )
    insert into heartbeats (instance, process, pid, host, version, started_at, seen_at, last_batch_at, counts)
    values (
      ${instance}, ${process}, ${pid}, coalesce(host(inet_client_addr()), 'local'), ${version}, ${startedAt},
      clock_timestamp(), ${lastBatchAt}, ${JSON.stringify(counts)}::text::jsonb
    )
    on conflict (instance) do update
    set seen_at = excluded.seen_at, last_batch_at = excluded.last_batch_at, counts = excluded.counts`;
}

/** Forgets a copy that ends. */
export async function forgetHeartbeat(sql: Queryable, instance: string): Promise<void> {
  await sql`delete from heartbeats where instance = ${instance}`;
}

const countsSchema = z.record(z.string(), z.number());

/** Those seen in the last ten minutes, by name, each process's newest copy first. */
export async function listHeartbeats(sql: Queryable): Promise<SeenHeartbeat[]> {
  const rows = await sql<(SeenHeartbeat & { counts: unknown })[]>`
    select instance, process, pid, host, version, started_at as "startedAt", seen_at as "seenAt", last_batch_at as "lastBatchAt",
           counts, greatest(extract(epoch from clock_timestamp() - seen_at) * 1000, 0)::float8 as "ageMs"
    from heartbeats where seen_at >= now() - ${FORGET_MINUTES}::int * interval '1 minute'
    order by seen_at desc limit ${MAX_LISTED}`;
  return rows.map((row) => ({ ...row, counts: countsSchema.parse(row.counts) }))
    .sort((a, b) => a.process.localeCompare(b.process) || b.startedAt.getTime() - a.startedAt.getTime());
}
