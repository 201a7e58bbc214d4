/**
 * What an error means for the work in hand: the one decision on which failures pass by themselves.
 *
 * @module
 */
import postgres from "postgres";

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
