// A process's heartbeat: that it lives, what it has counted, and whether its clock is right. Which processes run, by their
// own account.
//
// What is due and what is old is decided by the database's clock alone; a process's own is in what people read, in the ids
// of events, and in the times that these happened.

import { z } from "zod";
import { connect, type Queryable, type Sql } from "../sql/connect.ts";
import { ConfigError } from "./config.ts";
import { keepDoing } from "./errors.ts";
import type { Logger } from "./log.ts";
import { VERSION } from "./metrics.ts";
import { withTimeout } from "./stop.ts";

/** What a running copy of a process says of itself. Its times are by its own clock. */
export interface Heartbeat {
  readonly instance: string;
  readonly process: string;
  readonly pid: number;
  readonly version: string;
  readonly startedAt: Date;
  readonly lastBatchAt: Date | null;
  readonly counts: Readonly<Record<string, number>>;
  /** How far its clock was ahead of the database's, at its last heartbeat; null before that. */
  readonly clockAheadMs: number | null;
}

export interface SeenHeartbeat extends Heartbeat {
  /** The address that it connects to the database from, as the database sees it; `local` for a socket. */
  readonly host: string;
  readonly seenAt: Date;
  readonly ageMs: number;
}

/** A process that has been silent for this long is forgotten. */
const FORGET_MINUTES = 10;
/** With one heartbeat. */
const MAX_FORGOTTEN = 100;
/** A process that crashes again and again leaves a row each time. */
const MAX_LISTED = 200;

/**
 * Writes a heartbeat, in one statement, which also forgets others that have been silent for ten minutes. Answers with what
 * the database's clock showed, in milliseconds since 1970.
 */
export async function beat(sql: Queryable, heartbeat: Heartbeat): Promise<number> {
  const { instance, process, pid, version, startedAt, lastBatchAt, counts } = heartbeat;
  const [row] = await sql<{ ms: number }[]>`
    with forgotten as (
      delete from heartbeats where instance in (
        select instance from heartbeats
        where seen_at < now() - ${FORGET_MINUTES}::int * interval '1 minute' and instance <> ${instance}
        limit ${MAX_FORGOTTEN} for update skip locked
      )
    )
    insert into heartbeats (instance, process, pid, host, version, started_at, seen_at, last_batch_at, counts, clock_ahead_ms)
    values (
      ${instance}, ${process}, ${pid}, coalesce(host(inet_client_addr()), 'local'), ${version}, ${startedAt},
      clock_timestamp(), ${lastBatchAt}, ${JSON.stringify(counts)}::text::jsonb, ${heartbeat.clockAheadMs}
    )
    on conflict (instance) do update
    set seen_at = excluded.seen_at, last_batch_at = excluded.last_batch_at, counts = excluded.counts,
        clock_ahead_ms = excluded.clock_ahead_ms
    returning (extract(epoch from seen_at) * 1000)::float8 as ms`;
  if (!row) throw new Error("Cannot tell the time: the database answered with no row");
  return row.ms;
}

/** Forgets a copy that ends. */
export async function forgetHeartbeat(sql: Queryable, instance: string): Promise<void> {
  await sql`delete from heartbeats where instance = ${instance}`;
}

const countsSchema = z.record(z.string(), z.number());

/** Those seen in the last ten minutes, by name, each process's newest copy first. */
export async function listHeartbeats(sql: Queryable): Promise<SeenHeartbeat[]> {
  const rows = await sql<(Omit<SeenHeartbeat, "counts"> & { counts: unknown })[]>`
    select instance, process, pid, host, version, started_at as "startedAt", seen_at as "seenAt", last_batch_at as "lastBatchAt",
           counts, clock_ahead_ms as "clockAheadMs", greatest(extract(epoch from clock_timestamp() - seen_at) * 1000, 0)::float8 as "ageMs"
    from heartbeats where seen_at >= now() - ${FORGET_MINUTES}::int * interval '1 minute'
    order by seen_at desc limit ${MAX_LISTED}`;
  return rows.map((row) => ({ ...row, counts: countsSchema.parse(row.counts) }))
    .sort((a, b) => a.process.localeCompare(b.process) || b.startedAt.getTime() - a.startedAt.getTime());
}

export type Counts = ReturnType<typeof createCounts>;

/**
 * Starts to count; the `names` are there from the start, at 0. `add` adds the counts of one batch, and costs next to
 * nothing.
 */
export function createCounts(names: readonly string[] = []) {
  const counts: Record<string, number> = Object.fromEntries(names.map((name) => [name, 0]));
  let lastBatchAt: Date | null = null;
  return {
    add(batch: Readonly<Record<string, number>>): void {
      for (const [name, count] of Object.entries(batch)) counts[name] = (counts[name] ?? 0) + count;
      lastBatchAt = new Date();
    },
    read: (): Pick<Heartbeat, "counts" | "lastBatchAt"> => ({ counts: { ...counts }, lastBatchAt }),
  };
}

/** Between two heartbeats, busy or not: who misses three is shown as gone within five seconds. */
const BEAT_MS = 1500;
/** The goodbye of a process that stops must not keep it, nor must its last heartbeat. */
const GOODBYE_MS = 500;

/**
 * Beats until `stop` is aborted, and then says goodbye: a row that stays is of a process that was killed. Never rejects: a
 * process works without its heartbeat. The log has a warning when this process's clock is found to be wrong, and a line
 * when it is right again.
 */
export async function keepBeating(
  { sql, process, counts, log }: {
    readonly sql: Sql;
    readonly process: string;
    readonly counts: Counts;
    readonly log: Logger;
  },
  stop: AbortSignal,
): Promise<void> {
  const instance = crypto.randomUUID();
  const about = { instance, process, pid: Deno.pid, version: VERSION, startedAt: new Date() };
  let aheadMs: number | null = null;
  const once = async () => {
    const sentMs = Date.now();
    const databaseMs = await beat(sql, { ...about, ...counts.read(), clockAheadMs: aheadMs });
    const wasWrong = isWrong(aheadMs ?? 0);
    aheadMs = clockAheadMs(sentMs, databaseMs, Date.now());
    const seconds = Math.round(aheadMs / 1000);
    if (isWrong(aheadMs) && !wasWrong) {
      log.warning("This machine's clock, or the database's, is wrong; set it, by NTP for example", {
        secondsAheadOfDatabase: seconds,
      });
    } else if (wasWrong && !isWrong(aheadMs)) log.info("This machine's clock is right again");
  };
  await keepDoing("The heartbeat", once, { everyMs: BEAT_MS, graceMs: GOODBYE_MS, log, stop }).running;
  await withTimeout(GOODBYE_MS, forgetHeartbeat(sql, instance).catch(() => {}));
}

/** A clock that is off by more than this is said to be wrong. */
const TOLERANCE_MS = 5000;
const DAY_MS = 86_400_000;

/**
 * How far this process's clock is ahead of the database's at least, in milliseconds; negative where it is behind. The
 * database read its own, `databaseMs`, at some time between `sentMs` and `answeredMs` of this one.
 */
export function clockAheadMs(sentMs: number, databaseMs: number, answeredMs: number): number {
  return Math.max(sentMs - databaseMs, 0) + Math.min(answeredMs - databaseMs, 0);
}

/** Whether a clock that is `aheadMs` milliseconds ahead is wrong. */
export function isWrong(aheadMs: number): boolean {
  return Math.abs(aheadMs) > TOLERANCE_MS;
}

/**
 * Compares the clocks before a process begins. One that is off by more than everything is kept cannot be meant: its events
 * would be old when they are new.
 *
 * Errors: `ConfigError` for such a clock; those of the connection.
 */
export async function checkClock(url: string, retentionDays: number): Promise<void> {
  const sql = connect(url, { name: "clock", role: null, max: 1 });
  try {
    const sentMs = Date.now();
    const [row] = await sql<{ ms: number }[]>`
      select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`;
    const days = clockAheadMs(sentMs, row?.ms ?? sentMs, Date.now()) / DAY_MS;
    if (Math.abs(days) <= retentionDays) return;
    const off = `${Math.abs(days).toFixed(1)} days ${days > 0 ? "ahead of" : "behind"}`;
    throw new ConfigError(
      `Cannot start: this machine's clock is ${off} ` +
        `the database's, which is more than RETENTION_DAYS (${retentionDays}). Set the one that is wrong, by NTP for example.`,
    );
  } finally {
    await sql.end({ timeout: 1 });
  }
}
