/**
 * What an error means for the work in hand: which failures pass by themselves, waiting until what is away is back, and
 * finding the one item at fault in a batch.
 *
 * @module
 */
import postgres from "postgres";
import type { Logger } from "./log.ts";
import { pause } from "./stop.ts";

/**
 * - `outage`: the database or the connection to it is away as a whole. Nobody's message is at fault: wait.
 * - `transient`: this attempt met something that passes (a lock, a deadlock, a time-out). Try it again later.
 * - `permanent`: trying again the same way cannot help.
 */
export type ErrorKind = "outage" | "transient" | "permanent";

/** A dependency outside the database (the payment provider) did not answer in time, or said that it cannot now. */
export class TransientError extends Error {
  /** The error's name, as logs show it. */
  override name = "TransientError";
}

/** Codes of `npm:postgres` and of sockets that mean: no connection, or it went away under the statement. */
const CONNECTION_CODES = new Set([
  "CONNECTION_CLOSED",
  "CONNECTION_ENDED",
  "CONNECTION_DESTROYED",
  "CONNECT_TIMEOUT",
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
]);

/**
 * Classes and codes of SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) that mean an outage:
 * 08 connection, 53 out of connections, memory or disk, 55000 the database takes no connections, 57P shutting down or
 * starting up, 58 the server's disk or system fails, 25006 read-only.
 */
const OUTAGE_STATES = ["08", "53", "55000", "57P", "58", "25006"];

/**
 * 40 rolled back by a deadlock or conflict, 55P03 lock not available, 57014 statement cancelled by its time-out, 25P03
 * transaction idle for too long.
 */
const TRANSIENT_STATES = ["40", "55P03", "57014", "25P03"];

/** Decides what kind of failure `error` is. What nobody foresaw is permanent: it must be looked at, not repeated. */
export function kindOfError(error: unknown): ErrorKind {
  if (error instanceof TransientError) return "transient";
  if (error instanceof postgres.PostgresError) {
    const { code } = error;
    if (OUTAGE_STATES.some((prefix) => code.startsWith(prefix))) return "outage";
    return TRANSIENT_STATES.some((prefix) => code.startsWith(prefix)) ? "transient" : "permanent";
  }
  return CONNECTION_CODES.has(codeOf(error)) ? "outage" : "permanent";
}

/** Whether the connection on which a statement failed with `error` is gone, or about to be. */
export function endsConnection(error: unknown): boolean {
  if (error instanceof postgres.PostgresError) {
    return error.severity === "FATAL" || error.severity === "PANIC";
  }
  return CONNECTION_CODES.has(codeOf(error));
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // A refused connection to a name with several addresses is an AggregateError with an empty message.
  const inner = error instanceof AggregateError ? error.errors.map(messageOf).join("; ") : "";
  return error.message || inner || error.name;
}

/** How an outage is waited out. */
export interface OutageOptions {
  /** Gets one warning when the outage begins and one line when it is over, however many tries lie between. */
  readonly log: Logger;
  /** Aborted, nothing is tried any more. */
  readonly stop: AbortSignal;
  /** Decides whether an error passes by itself. Unless told: those of kind "outage". */
  readonly passes?: (error: unknown) => boolean;
}

/** Between the first two tries, in milliseconds; it doubles from try to try. */
const OUTAGE_BACKOFF_MIN_MS = 100;
/** Between two tries at most, so that work goes on within two seconds of the recovery. */
const OUTAGE_BACKOFF_MAX_MS = 1000;

/**
 * Runs `work`, again and again while the database is away; answers with what it answered.
 *
 * Errors: those of `work` that do not pass by themselves, and its last one once `stop` is aborted.
 */
export async function retryWhileUnavailable<T>(work: () => Promise<T>, options: OutageOptions): Promise<T> {
  const { log, stop, passes = (error) => kindOfError(error) === "outage" } = options;
  for (let backoffMs = OUTAGE_BACKOFF_MIN_MS, told = false;;) {
    try {
      const result = await work();
      if (told) log.info("The database is back");
      return result;
    } catch (error) {
      if (stop.aborted || !passes(error)) throw error;
      if (!told) {
        log.warning("The database cannot be used; pausing until it can", { error: messageOf(error) });
      }
      told = true;
      await pause(backoffMs, stop);
      backoffMs = Math.min(backoffMs * 2, OUTAGE_BACKOFF_MAX_MS);
    }
  }
}

/** As `passes`: everything but what nobody foresaw. For work that is nobody's message, so that a lock is just waited for. */
export function passesInTime(error: unknown): boolean {
  return kindOfError(error) !== "permanent";
}

/**
 * Runs `run` on all `items` at once. Where that fails, it runs each half by itself, and so on, until the item at fault
 * stands alone: it has the error, the others have their results, in the order of `items`. One bad item among `n` costs
 * about 2 log2(n) further runs. A run that fails must leave nothing behind (a transaction).
 *
 * Errors: those of kind "outage", which no item is at fault for.
 */
export async function bisect<T, R>(
  items: readonly T[],
  run: (items: readonly T[]) => Promise<readonly R[]>,
): Promise<PromiseSettledResult<R>[]> {
  if (items.length === 0) return [];
  try {
    const results = await run(items);
    if (results.length !== items.length) {
      throw new Error(`A batch of ${items.length} items came back with ${results.length} results`);
    }
    return results.map((value) => ({ status: "fulfilled", value }));
  } catch (reason) {
    if (kindOfError(reason) === "outage") throw reason;
    if (items.length === 1) return [{ status: "rejected", reason }];
    const middle = Math.ceil(items.length / 2);
    const left = await bisect(items.slice(0, middle), run);
    return [...left, ...await bisect(items.slice(middle), run)];
  }
}
