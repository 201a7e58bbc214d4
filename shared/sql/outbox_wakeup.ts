/**
 * Wakes the relay within milliseconds of a commit.
 *
 * @module
 */
import type { Sql } from "./connect.ts";

const CHANNEL = "orderflow_outbox";

/**
 * The least time between two wake-ups of one process, in milliseconds. A transaction that contains a `NOTIFY` commits
 * under a lock that the whole database shares; one small transaction every 10 ms keeps that off the hot path.
 */
const MIN_INTERVAL_MS = 10;

/** Tells the relay that there is something in the outbox. */
export interface OutboxWaker {
  /** To be called after a commit that appended events. Never throws, never waits: the relay's poll is the safety net. */
  wake(): void;
  /** Sends what is pending; resolves when nothing is under way. */
  close(): Promise<void>;
}

/** Makes a waker on `sql`: the first call notifies at once, further ones at most every 10 ms. */
export function createOutboxWaker(sql: Sql): OutboxWaker {
  let sending: Promise<void> | null = null;
  let again = false;
  let closed = false;

  async function send(): Promise<void> {
    do {
      again = false;
      await sql`select pg_notify(${CHANNEL}, '')`.catch(() => {});
      if (!closed) await new Promise((resolve) => setTimeout(resolve, MIN_INTERVAL_MS));
    } while (again);
    sending = null;
  }

  return {
    wake() {
      again = true;
      sending ??= send();
    },
    async close() {
      closed = true;
      await sending;
    },
  };
}

/**
 * Why the relay is woken: there may be events in the outbox, somebody asks for one pass even of a relay that is switched
 * off, or there are new delayed retries.
 */
export type WakeUp = "events" | "tick" | "retries";

/** Asks the relay for one pass now, even if it is switched off. */
export async function tickRelay(sql: Sql): Promise<void> {
  await notify(sql, "tick");
}

/** Tells the relay of new delayed retries, so that it is not late for the first of them. */
export async function announceRetries(sql: Sql): Promise<void> {
  await notify(sql, "retries");
}

async function notify(sql: Sql, wakeUp: Exclude<WakeUp, "events">): Promise<void> {
  await sql`select pg_notify(${CHANNEL}, ${wakeUp})`;
}

/**
 * Calls `onWakeUp` after each wake-up, and whenever the connection has been made again, because wake-ups in between are
 * lost. Answers with a function that stops listening.
 */
export async function listenForWakeUps(
  sql: Sql,
  onWakeUp: (wakeUp: WakeUp) => void,
): Promise<() => Promise<void>> {
  const { unlisten } = await sql.listen(
    CHANNEL,
    (payload) => onWakeUp(payload === "tick" || payload === "retries" ? payload : "events"),
    () => {
      onWakeUp("events");
      onWakeUp("retries");
    },
  );
  return unlisten;
}
