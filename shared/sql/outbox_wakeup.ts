/**
 * Wakes the relay within milliseconds of a commit.
 *
 * @module
 */
import { setImmediate as immediate, setTimeout as delay } from "node:timers/promises";
import type { Sql } from "./connect.ts";

const CHANNEL = "orderflow_outbox";

/**
 * The least time between two wake-ups of one process, in milliseconds. A transaction that contains a `NOTIFY` commits
 * under a lock that the whole database shares; one small transaction every 10 ms keeps that off the hot path.
 */
const MIN_INTERVAL_MS = 10;
/** Wake-ups without an answer at most; a database that is this far behind has others to wake it. */
const MAX_UNDER_WAY = 10;

/** Tells the relay that there is something in the outbox. */
export interface OutboxWaker {
  /**
   * To be called after a commit that appended events or, on a pool of one connection, as soon as the statement is under
   * way that commits them. Never throws, never waits: the relay's poll is the safety net.
   */
  wake(): void;
  /** Sends what is pending; resolves when nothing is under way. */
  close(): Promise<void>;
}

/**
 * Makes a waker on `sql`: the first call notifies at once, further ones at most every 10 ms. On a pool of one connection
 * a wake-up takes its turn behind the statement that is under way there, so that it reaches the relay right after the
 * commit, without a round trip in between.
 */
export function createOutboxWaker(sql: Sql): OutboxWaker {
  let notBeforeMs = 0;
  let due: Promise<void> | null = null; // the next wake-up, which is not sent yet
  const underWay = new Set<Promise<void>>();

  async function send(): Promise<void> {
    const waitMs = notBeforeMs - performance.now();
    if (waitMs > 0) await delay(waitMs);
    await immediate(); // a statement that was begun just now is on its way then, and this one behind it
    due = null;
    notBeforeMs = performance.now() + MIN_INTERVAL_MS;
    await sql`select pg_notify(${CHANNEL}, '')`.catch(() => {});
  }

  return {
    wake() {
      if (due || underWay.size >= MAX_UNDER_WAY) return;
      const sent = due = send();
      underWay.add(sent);
      sent.finally(() => underWay.delete(sent));
    },
    async close() {
      await Promise.all(underWay);
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
