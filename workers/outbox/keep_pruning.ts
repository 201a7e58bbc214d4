/**
 * Retention's loop: deletes what is old, in small batches with pauses.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import type { Logger } from "../../shared/log.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { prune, type Pruned } from "../../shared/sql/retention.ts";
import { pause } from "../../shared/stop.ts";

/** What the loop is made of. */
export interface PruningOptions {
  /** A pool that may delete, and nothing else. */
  readonly sql: Sql;
  /** How long everything is kept, in days. */
  readonly days: number;
  /** Told of what was deleted, and of a round that failed. */
  readonly log: Logger;
}

/** Rows of one table in one statement: a few milliseconds of work. */
const BATCH_ROWS = 1000;
/** Between two batches, so that deleting never takes more than a part of the database's time. */
const BETWEEN_BATCHES_MS = 50;
/** Between two rounds. */
const BETWEEN_ROUNDS_MS = 60_000;
const DAY_MS = 86_400_000;

/** Prunes until `stop` is aborted. A round that fails is the next one's work. */
export async function keepPruning({ sql, days, log }: PruningOptions, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    try {
      const rows = await pruneRound(sql, days, stop);
      if (rows > 0) log.info("Pruned", { rows, olderThanDays: days });
    } catch (error) {
      log.warning("Pruning failed; trying again in a minute", { error: messageOf(error) });
    }
    await pause(BETWEEN_ROUNDS_MS, stop);
  }
}

/** Deletes all that is old enough now; answers with how many rows that was. */
async function pruneRound(sql: Sql, days: number, stop: AbortSignal): Promise<number> {
  const before = new Date(Date.now() - days * DAY_MS);
  for (let total = 0;;) {
    const rows = rowsOf(await prune(sql, before, BATCH_ROWS));
    total += rows;
    if (rows === 0 || stop.aborted) return total;
    await pause(BETWEEN_BATCHES_MS, stop);
  }
}

function rowsOf(pruned: Pruned): number {
  return Object.values(pruned).reduce((sum, rows) => sum + rows, 0);
}
