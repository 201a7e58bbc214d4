/**
 * Watches the table `orders` until given orders have ended, at a price that the database hardly feels.
 *
 * @module
 */
import { isFinal, ORDER_STATUSES } from "../../shared/order_status.ts";
import { type Sql, uuids } from "../../shared/sql/connect.ts";

/** An order that was seen to have ended. */
export interface SeenEnd {
  /** Its final status. */
  readonly status: string;
  /** When another session saw it, by `performance.now()`. */
  readonly seenMs: number;
  /** From its beginning until then, in milliseconds. */
  readonly latencyMs: number;
}

/** A watch over some orders. */
export interface EndWatch {
  /** Watches one more order, whose time began at `sinceMs` by `performance.now()`. */
  add(id: string, sinceMs: number): void;
  /**
   * Resolves with the ends of all that were added, in the order in which they were seen; `onEnded` is told meanwhile how
   * many there are.
   *
   * Errors: with how many are still open after `withinMs`; what the database says.
   */
  allEnded(withinMs: number, onEnded?: (orders: number) => void): Promise<readonly SeenEnd[]>;
}

const FINAL = ORDER_STATUSES.filter(isFinal);

/** The most orders that one look asks for. */
const MAX_ASKED = 1000;
/** Ids looked up per millisecond, at most: about one percent of a core. */
const IDS_PER_MS = 10;
const PAUSE_MIN_MS = 3;

/**
 * How long to wait after a look at `asked` orders of which `ended` had ended, in milliseconds. So the pause, which is what
 * a latency is blurred by, stays far below the latency: many orders are open only where each takes long. Pure.
 */
export function pauseAfter(asked: number, ended: number): number {
  if (ended === asked && asked === MAX_ASKED) return 0; // the watch is behind, not the orders
  return Math.max(PAUSE_MIN_MS, asked / IDS_PER_MS);
}

/** Starts a watch that has nothing to do yet. The pool stays its caller's. */
export function watchEnds(sql: Sql): EndWatch {
  const open = new Map<string, number>(); // in the order in which they began, which is about how they end
  const ends: SeenEnd[] = [];
  let isWatching = false;
  let watching = Promise.resolve();
  let untilMs = Infinity;
  let tell: ((orders: number) => void) | undefined;

  async function watch(): Promise<void> {
    while (open.size > 0) {
      const asked = open.keys().take(MAX_ASKED).toArray();
      const rows = await sql<{ id: string; status: string }[]>`
        select id, status from orders
        where id = any(${uuids(asked)}::text::uuid[]) and status in ${sql(FINAL)}`;
      const seenMs = performance.now();
      for (const { id, status } of rows) {
        ends.push({ status, seenMs, latencyMs: seenMs - (open.get(id) ?? seenMs) });
        open.delete(id);
      }
      tell?.(ends.length);
      if (open.size === 0) break;
      if (seenMs > untilMs) throw new Error(await stillOpen());
      await new Promise((resolve) => setTimeout(resolve, pauseAfter(asked.length, rows.length)));
    }
    isWatching = false; // at once: the next order may come before whoever waits for this
  }

  async function stillOpen(): Promise<string> {
    const [first = ""] = open.keys();
    const [row] = await sql<{ status: string }[]>`select status from orders where id = ${first}`;
    const state = row ? `is ${row.status}` : "is not in the table orders of --database";
    return `${open.size} of ${
      open.size + ends.length
    } orders have not ended in time; the oldest, ${first}, ${state}`;
  }

  return {
    add(id, sinceMs) {
      open.set(id, sinceMs);
      if (isWatching) return; // or it has failed, which is told at the end
      isWatching = true;
      watching = watch();
      watching.catch(() => {});
    },
    async allEnded(withinMs, onEnded) {
      tell = onEnded;
      untilMs = performance.now() + withinMs;
      await watching;
      return ends;
    },
  };
}
