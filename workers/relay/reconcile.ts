/**
 * Reconciliation: re-sends published events that never arrived, because the broker lost them. Each consumer has cursors
 * over the times at which something was sent to it, and a list of what it is known to lack (`sql/lost_events.ts`).
 *
 * @module
 */
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import type { QueueDepth } from "../../shared/broker/connection.ts";
import { type Publisher, toQueue } from "../../shared/broker/publish.ts";
import {
  type Bound,
  countLost,
  findUnsent,
  forgetFound,
  insertCursors,
  markSentAgain,
  sweepSendings,
} from "../../shared/sql/lost_events.ts";
import { readEventsForPublishing } from "../../shared/sql/outbox.ts";
import { CONFIRM_TIMEOUT_MS } from "./relay.ts";
import { keepDoing } from "../../shared/process/keep_doing.ts";
import type { Logger } from "../../shared/process/log.ts";

/** What a reconciler is made of. */
export interface ReconcilerOptions {
  /** A pool that may read the outbox, the inbox and what was set aside, and write down what was lost. */
  readonly sql: Sql;
  /** Who is to get which types of event. */
  readonly bindings: readonly Bound[];
  /**
   * How long ago, in milliseconds, an event must have been sent before it can count as lost. Longer than a worker may keep
   * one in its hands: what is merely slow would be sent for nothing.
   */
  readonly afterMs: number;
}

/** A connection to the broker, as reconciliation needs it. */
export interface ReconcileWire {
  /** Sends to single queues. */
  readonly publisher: Publisher;
  /** Asks the broker how the queues stand. */
  readonly readQueues: () => Promise<readonly QueueDepth[]>;
}

/** Looks for lost events. */
export interface Reconciler {
  /**
   * One pass: moves the cursors on, and sends to each consumer what it lacks. It deals only with consumers whose queue is
   * empty while somebody consumes it: a backlog is not a loss, and is never added to. Answers with how many events were
   * sent again, by consumer. Begins nothing more once `stop` is aborted.
   *
   * Errors: what the database or the broker meets with. What was sent until then has been noted.
   */
  pass(wire: ReconcileWire, stop?: AbortSignal): Promise<Readonly<Record<string, number>>>;
}

/** Sendings that one statement looks at: some 50 ms, most of them in the inbox's index. */
const SWEPT_AT_ONCE = 5000;
/** Such statements in one pass: what is 250,000 sendings behind is caught up with in one. */
const SWEEPS = 50;
/**
 * So many lost events of a consumer are remembered, and with those of its last sweep sent again in one pass: with a pass
 * every 10 s some 2,500 a second. Its cursor waits until they have arrived.
 */
const MAX_LOST = 25_000;
/** Events that are read and published together, some 1 MB. */
const SENT_AT_ONCE = 1000;
/** After that long a pass begins nothing more: its lock's transaction is ended by the database when it idles for 60 s. */
const PASS_MS = 20_000;
/** No transaction of ours is open for longer: the database ends one that idles for 60 s, and a statement after 10. */
const OPEN_AT_MOST_MS = 120_000;

/**
 * Makes a reconciler. Cursors and what is known to be lost are in the database: whoever goes on after a restart goes on
 * from there.
 */
export function createReconciler({ sql, bindings, afterMs }: ReconcilerOptions): Reconciler {
  const madeAtMs = performance.now();
  let hasCursors = false;
  let begun = { at: "-infinity", next: "0" };

  /**
   * Up to when all that was sent is old enough, and can be read. A sending gets its time before it is committed, so a cursor
   * must not pass a time while a transaction of before is open. Of those begun before `begun.at` none is, once all numbers
   * below `begun.next` are through; strangers' long ones are not waited for.
   */
  async function readUntil(): Promise<string> {
    const [row] = await sql<{ at: string; next: string; isThrough: boolean; until: string }[]>`
      select now()::text as at, pg_snapshot_xmax(open)::text as next, "isThrough",
             least(now() - ${afterMs}::float8 * interval '1 millisecond', greatest(
               now() - ${OPEN_AT_MOST_MS}::float8 * interval '1 millisecond',
               case when "isThrough" then ${begun.at}::text::timestamptz end))::text as until
      from pg_current_snapshot() as open,
           lateral (select pg_snapshot_xmin(open) >= ${begun.next}::text::xid8 as "isThrough") as begun`;
    if (!row) throw new Error("Cannot tell the time: the database answered with no row");
    if (row.isThrough) begun = row;
    return row.until;
  }

  return {
    async pass({ publisher, readQueues }, stop) {
      const endMs = performance.now() + PASS_MS;
      const goesOn = () => !stop?.aborted && performance.now() < endMs;
      if (!hasCursors) await insertCursors(sql, bindings, performance.now() - madeAtMs);
      hasCursors = true;
      const until = await readUntil(); // before the queues are asked, so that what they do not hold was sent to them
      const idle = idleOf(await readQueues());
      const lost = new Map<string, number>();
      for (const { consumer } of await countLost(sql)) {
        if (idle.has(consumer)) lost.set(consumer, await forgetFound(sql, consumer, until));
      }
      for (let sweeps = 0; sweeps < SWEEPS && goesOn(); sweeps++) {
        const open = bindings.filter(({ consumer }) =>
          idle.has(consumer) && (lost.get(consumer) ?? 0) < MAX_LOST
        );
        const swept = await sweepSendings(sql, open, until, SWEPT_AT_ONCE);
        if (swept.length === 0) break;
        for (const found of swept) lost.set(found.consumer, (lost.get(found.consumer) ?? 0) + found.lost);
      }
      const resent: Record<string, number> = {};
      for (const [consumer, events] of lost) {
        const sent = events > 0 ? await sendAgain(sql, publisher, consumer, until, goesOn) : 0;
        if (sent > 0) resent[consumer] = sent;
      }
      return resent;
    },
  };
}

/** The consumers that have taken all there is. */
function idleOf(queues: readonly QueueDepth[]): Set<string> {
  return new Set(queues.filter((q) => q.messages === 0 && q.consumers > 0).map(({ queue }) => queue));
}

/** Sends to `consumer` what it lacks; answers with how many events the broker has taken. */
async function sendAgain(
  sql: Sql,
  publisher: Publisher,
  consumer: string,
  until: string,
  goesOn: () => boolean,
): Promise<number> {
  const ids = await findUnsent(sql, consumer, until);
  let sent = 0;
  for (let from = 0; from < ids.length && goesOn(); from += SENT_AT_ONCE) {
    const messages = await readEventsForPublishing(sql, ids.slice(from, from + SENT_AT_ONCE));
    const { confirmed, unknown } = await publisher.publish(messages, toQueue(consumer), CONFIRM_TIMEOUT_MS);
    await markSentAgain(sql, consumer, confirmed);
    sent += confirmed.length;
    if (unknown.length > 0 || confirmed.length === 0) break; // the next pass tries again
  }
  return sent;
}

/** What the loop is made of. */
export interface ReconcilingOptions {
  /** A pool of the database, for the lock. */
  readonly sql: Sql;
  /** What does a pass. */
  readonly reconciler: Reconciler;
  /** The connection that is up; null while there is none. */
  readonly wire: () => ReconcileWire | null;
  /** The pause between two passes, in milliseconds. */
  readonly intervalMs: number;
  /** Told how many events a pass has sent to one consumer again. */
  readonly onResent?: ((events: number) => void) | undefined;
  /** Told of what was lost and sent again, and of a pass that failed. */
  readonly log: Logger;
}

/** Any number, the same for every relay of a database. */
const LOCK_KEY = 7_203_114_002;

/** Reconciles until `stop` is aborted. */
export function keepReconciling(options: ReconcilingOptions, stop: AbortSignal): Promise<void> {
  const { intervalMs: everyMs, log } = options;
  return keepDoing("Reconciliation", () => onePass(options, stop), { everyMs, log, stop }).running;
}

/** Does a pass, unless another relay is at one: both would find the same events lost, and the same queues empty. */
async function onePass(
  { sql, reconciler, wire, onResent, log }: ReconcilingOptions,
  stop: AbortSignal,
): Promise<void> {
  const wired = wire();
  if (!wired) return;
  await transaction(sql, async (tx) => {
    const [lock] = await tx<{ ours: boolean }[]>`select pg_try_advisory_xact_lock(${LOCK_KEY}) as ours`;
    if (!lock?.ours) return;
    for (const [consumer, events] of Object.entries(await reconciler.pass(wired, stop))) {
      log.warning("Sent again what never arrived", { consumer, events });
      onResent?.(events);
    }
  });
}
