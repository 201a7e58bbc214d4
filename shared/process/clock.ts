/**
 * Whether this process's clock is right. What is due and what is old is decided by the database's clock alone; a process's
 * own is in what people read, in the ids of events, and in the times that these happened.
 *
 * @module
 */
import { connect } from "../sql/connect.ts";
import { ConfigError } from "./config.ts";

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
export async function checkClock(
  url: string,
  retentionDays: number,
  nowMs: () => number = Date.now,
): Promise<void> {
  const sql = connect(url, { name: "clock", role: null, max: 1 });
  try {
    const sentMs = nowMs();
    const [row] = await sql<
      { ms: number }[]
    >`select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`;
    const days = clockAheadMs(sentMs, row?.ms ?? sentMs, nowMs()) / DAY_MS;
    if (Math.abs(days) <= retentionDays) return;
    throw new ConfigError(
      `Cannot start: this machine's clock is ${Math.abs(days).toFixed(1)} days ${
        days > 0 ? "ahead of" : "behind"
      } ` +
        `the database's, which is more than RETENTION_DAYS (${retentionDays}). Set the one that is wrong, by NTP for example.`,
    );
  } finally {
    await sql.end({ timeout: 1 });
  }
}
