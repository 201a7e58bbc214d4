/**
 * A process's heartbeat: that it lives, and what it has counted.
 *
 * @module
 */
import { messageOf } from "./errors.ts";
import type { Logger } from "./log.ts";
import type { Sql } from "./sql/connect.ts";
import { beat, forgetHeartbeat } from "./sql/heartbeats.ts";
import { aborted, pause, within } from "./stop.ts";
import { VERSION } from "./version.ts";

/** What a process counts, for its heartbeat. */
export interface Counts {
  /** Adds what one batch came to, by name. Costs next to nothing. */
  add(batch: Readonly<Record<string, number>>): void;
  /** All that was added so far, and when the last of it was; null before the first. */
  read(): { readonly counts: Readonly<Record<string, number>>; readonly lastBatchAt: Date | null };
  /** Aborted as soon as something is added after the last `read()`. */
  readonly news: AbortSignal;
}

/** Starts to count. The `names` are there from the start, at 0. */
export function createCounts(names: readonly string[] = []): Counts {
  const counts: Record<string, number> = Object.fromEntries(names.map((name) => [name, 0]));
  let lastBatchAt: Date | null = null;
  let news = new AbortController();
  return {
    add(batch) {
      for (const [name, count] of Object.entries(batch)) counts[name] = (counts[name] ?? 0) + count;
      lastBatchAt = new Date();
      if (!news.signal.aborted) news.abort(); // which makes an error with its stack each time
    },
    read() {
      news = new AbortController();
      return { counts: { ...counts }, lastBatchAt };
    },
    get news() {
      return news.signal;
    },
  };
}

/** What a heartbeat is made of. */
export interface HeartbeatOptions {
  /** A pool that may write heartbeats: every process's may. */
  readonly sql: Sql;
  /** The process's name. */
  readonly process: string;
  /** What it counts. */
  readonly counts: Counts;
  /** Gets one line for each outage. */
  readonly log: Logger;
}

/** Between two heartbeats at least, in milliseconds, however much is counted. */
const BEAT_BUSY_MS = 2000;
/** Between two heartbeats when nothing is counted. */
const BEAT_IDLE_MS = 5000;
/** The goodbye of a process that stops must not keep it. */
const GOODBYE_MS = 500;

/**
 * Beats until `stop` is aborted, and then says goodbye: a row that stays is of a process that was killed. What is counted
 * after a silence is told at once. Never rejects: a process works without its heartbeat.
 */
export async function keepBeating(options: HeartbeatOptions, stop: AbortSignal): Promise<void> {
  const { sql, process, counts, log } = options;
  const instance = crypto.randomUUID();
  const about = { instance, process, pid: Deno.pid, version: VERSION, startedAt: new Date() };
  let failing = false;

  async function beatOnce(): Promise<void> {
    try {
      await beat(sql, { ...about, ...counts.read() });
      failing = false;
    } catch (error) {
      if (!failing && !stop.aborted) {
        log.warning("Heartbeats cannot be written; trying again", { error: messageOf(error) });
      }
      failing = true;
    }
  }

  async function run(): Promise<void> {
    while (!stop.aborted) {
      await beatOnce();
      await pause(BEAT_BUSY_MS, stop);
      await pause(BEAT_IDLE_MS - BEAT_BUSY_MS, AbortSignal.any([stop, counts.news]));
    }
    await forgetHeartbeat(sql, instance).catch(() => {});
  }

  const running = run();
  await aborted(stop);
  await within(GOODBYE_MS, running);
}
