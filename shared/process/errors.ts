// What an error means for the work that met it: which failures pass by themselves, work that waits for the database or is
// tried again and again, and finding the one item at fault in a batch.

import postgres from "postgres";
import type { Logger } from "./log.ts";
import { aborted, createAlarm, pause, withTimeout } from "./stop.ts";

/**
 * - `outage`: the database, the way to it, or what this process may do there is not as it should be. No message is at
 *   fault: wait, and spend nothing.
 * - `transient`: this attempt met something that passes (a lock, a deadlock, a time-out). Try it again later.
 * - `permanent`: the data is at fault; trying again cannot help.
 */
export type ErrorKind = "outage" | "transient" | "permanent";

/** A dependency outside the database (the payment provider) did not answer in time, or said that it cannot now. */
export class TransientError extends Error {
  override name = "TransientError";
}

/**
 * SQLSTATEs, by class or code (https://www.postgresql.org/docs/current/errcodes-appendix.html), that are no outage.
 * Permanent are those that the data of a message can cause, and no others: whatever else the database refuses (a missing
 * grant, table or database, a login, a full disk, a read-only standby, an error of its own) it refuses to everybody.
 * `specs/reliability.md` has the same table.
 */
export const SQLSTATES: readonly (readonly [state: string, kind: ErrorKind, meaning: string])[] = [
  ["21", "permanent", "cardinality violation"],
  ["22", "permanent", "data exception"],
  ["23", "permanent", "integrity constraint violation"],
  ["44", "permanent", "check option of a view violated"],
  ["54", "permanent", "program limit exceeded"],
  ["P0", "permanent", "raised by a trigger or function"],
  ["25P03", "transient", "idle in transaction for too long"],
  ["40", "transient", "rolled back: deadlock or conflict"],
  ["55P03", "transient", "lock not available in time"],
  ["57014", "transient", "cancelled by the statement time-out"],
];

/** Codes of sockets, name look-ups, TLS and `npm:postgres` for a connection that cannot be made, or is gone. */
const CONNECTION_CODE = /^(E(?!RR_)|ERR_(TLS|SSL)_|CERT_|SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_|CONNECT|SASL_)/;

/**
 * Decides what kind of failure `error` is. An error that comes neither from the database nor from a connection, such as a
 * bug that throws a `TypeError`, is permanent: it must be looked at, and the messages behind it go on.
 */
export function kindOfError(error: unknown): ErrorKind {
  if (error instanceof TransientError) return "transient";
  if (isConnectionError(error)) return "outage";
  if (!(error instanceof postgres.PostgresError)) return "permanent";
  const kind = SQLSTATES.find(([state]) => error.code.startsWith(state))?.[1] ?? "outage";
  // What ends the session is not said of data: a role that is missing at the login is 22023, an invalid parameter.
  return kind === "permanent" && endsConnection(error) ? "outage" : kind;
}

/** Whether the connection on which a statement failed with `error` is gone, or about to be. */
export function endsConnection(error: unknown): boolean {
  if (error instanceof postgres.PostgresError) {
    return error.severity === "FATAL" || error.severity === "PANIC";
  }
  return isConnectionError(error);
}

function isConnectionError(error: unknown): boolean {
  return error instanceof Error && !(error instanceof postgres.PostgresError) && "code" in error &&
    typeof error.code === "string" && CONNECTION_CODE.test(error.code);
}

/** Whether a statement gave up on a lock: its holder is at fault, no message, and it passes with that transaction. */
export function isLockTimeout(error: unknown): boolean {
  return error instanceof postgres.PostgresError && error.code === "55P03";
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // A refused connection to a name with several addresses is an AggregateError with an empty message.
  const inner = error instanceof AggregateError ? error.errors.map(messageOf).join("; ") : "";
  return error.message || inner || error.name;
}

/** Between the first two tries, in milliseconds; it doubles from try to try. */
const OUTAGE_BACKOFF_MIN_MS = 100;
/** Between two tries at most, so that work goes on within two seconds of the recovery. */
const OUTAGE_BACKOFF_MAX_MS = 1000;

/**
 * Runs `work` again and again while it meets errors that pass by themselves (`passes`; by default, outages); answers with
 * its result. The log has one warning when that begins and one line when it is over, however many tries lie between.
 *
 * Errors: those of `work` that do not pass, and its last one once `stop` is aborted.
 */
export async function retryWhileUnavailable<T>(
  work: () => Promise<T>,
  { log, stop, passes = (error) => kindOfError(error) === "outage" }: {
    readonly log: Logger;
    readonly stop: AbortSignal;
    readonly passes?: (error: unknown) => boolean;
  },
): Promise<T> {
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

/** As `passes`: everything but the permanent. For work that is nobody's message, so that a lock is just waited for. */
export function passesInTime(error: unknown): boolean {
  return kindOfError(error) !== "permanent";
}

/** How long a round of a chore may keep a process that stops, in milliseconds. */
const GRACE_MS = 10_000;

export type Chore = ReturnType<typeof keepDoing>;

/**
 * Does `work` until `stop` is aborted, the first time at once; its result is the pause before the next round, in
 * milliseconds. A failure is the next round's work: the log has one warning until a round succeeds, and nothing is thrown.
 * `running` resolves when it has stopped, `graceMs` after `stop` at the latest, and never rejects; `wake` has the next
 * round begin now or, called during a round, right after it.
 */
export function keepDoing(
  name: string,
  work: () => Promise<number | void>,
  { everyMs, graceMs = GRACE_MS, log, stop }: {
    readonly everyMs: number;
    readonly graceMs?: number;
    readonly log: Logger;
    readonly stop: AbortSignal;
  },
) {
  const alarm = createAlarm(stop);

  async function run(): Promise<void> {
    for (let failing = false; !stop.aborted;) {
      let pauseMs = everyMs;
      try {
        pauseMs = await work() ?? everyMs;
        failing = false;
      } catch (error) {
        if (!failing && !stop.aborted) {
          log.warning(`${name} failed; trying again`, { error: messageOf(error) });
        }
        failing = true;
      }
      await alarm.wait(pauseMs);
    }
  }

  const rounds = run();
  const running = aborted(stop).then(async () => void await withTimeout(graceMs, rounds));
  return { running, wake: alarm.ring };
}

/**
 * Runs `run` on all `items` at once. Where that fails, it runs each half by itself, and so on, until the item at fault
 * stands alone. One bad item among `n` costs about 2 log2(n) further runs. A run that fails must leave nothing behind (a
 * transaction). Answers with the result of each item, in the order of `items`: its value, or the error that it failed
 * with alone. An error that no item is at fault for (by default, one of kind "outage") ends the search: what is stored by
 * then keeps its results, and all other items have that error.
 */
export async function bisect<T, R>(
  items: readonly T[],
  run: (items: readonly T[]) => Promise<readonly R[]>,
  isOfOneItem: (error: unknown) => boolean = (error) => kindOfError(error) !== "outage",
): Promise<PromiseSettledResult<R>[]> {
  if (items.length === 0) return [];
  try {
    const results = await run(items);
    if (results.length !== items.length) {
      throw new Error(`A batch of ${items.length} items came back with ${results.length} results`);
    }
    return results.map((value) => ({ status: "fulfilled", value }));
  } catch (reason) {
    const failed: PromiseRejectedResult = { status: "rejected", reason };
    if (items.length === 1 || !isOfOneItem(reason)) return items.map(() => failed);
    const middle = Math.ceil(items.length / 2);
    const left = await bisect(items.slice(0, middle), run, isOfOneItem);
    const ended = left.find((result) => result.status === "rejected" && !isOfOneItem(result.reason));
    const others = items.slice(middle);
    return [...left, ...ended ? others.map(() => ended) : await bisect(others, run, isOfOneItem)];
  }
}
