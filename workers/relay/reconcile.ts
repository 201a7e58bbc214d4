// Reconciliation: re-sends published events that never arrived, because the broker lost them. Each consumer has cursors
// over the times at which something was sent to it, and a list of what it is known to lack (`sql/lost_events.ts`).

import { findHeldConsumers } from "../../shared/ops/holds.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import type { Binding, QueueDepth } from "../../shared/broker/connection.ts";
import { type Publisher, toQueue } from "../../shared/broker/publish.ts";
import {
  countLost,
  findUnsent,
  forgetFound,
  insertCursors,
  markSentAgain,
  sweepSendings,
} from "../../shared/sql/lost_events.ts";
import { readEventsForPublishing } from "../../shared/sql/outbox.ts";
import { CONFIRM_TIMEOUT_MS } from "./relay.ts";
import { keepDoing } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";

interface ReconcilerOptions {
  readonly sql: Sql;
  readonly bindings: readonly Binding[];
  /**
   * How long ago, in milliseconds, an event must have been sent before it can count as lost. Longer than a worker may keep
   * one in its hands: what is merely slow would be sent for nothing.
   */
  readonly afterMs: number;
}

export interface ReconcileWire {
  readonly publisher: Publisher;
  readonly readQueues: () => Promise<readonly QueueDepth[]>;
}

interface ReconcilePass {
  /** Events sent again, by consumer. */
  readonly resent: Readonly<Record<string, number>>;
  /** Pairs of event and consumer that are lost, for all that is known: sent again or not, they have not arrived. */
  readonly lost: number;
}

/** Sendings that one statement looks at: some 50 ms, most of them in the inbox's index. */
const SWEPT_AT_ONCE = 5000;
/** Such statements in one pass: what is 250,000 sendings behind is caught up with in one. */
const SWEEPS = 50;
/**
 * So many lost events of a consumer are remembered, and with those of its last sweep sent again in one pass: what it takes
 * in some 10 s. Its cursor waits until they have arrived.
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
 *
 * A `pass` moves the cursors on, and sends to each consumer what it lacks. It deals only with consumers whose queue is
 * empty while somebody consumes it, and who was not held for as long as an event may be under way: a backlog is not a
 * loss, and is never added to. Begins nothing more once `stop` is aborted.
 *
 * Errors, of a pass: what the database or the broker meets with. What was sent until then has been noted.
 */
export function createReconciler({ sql, bindings, afterMs }: ReconcilerOptions) {
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
    async pass({ publisher, readQueues }: ReconcileWire, stop?: AbortSignal): Promise<ReconcilePass> {
      const endMs = performance.now() + PASS_MS;
      const goesOn = () => !stop?.aborted && performance.now() < endMs;
      if (!hasCursors) await insertCursors(sql, bindings, performance.now() - madeAtMs);
      hasCursors = true;
      const until = await readUntil(); // before the queues are asked, so that what they do not hold was sent to them
      const taken = (await readQueues()).filter((queue) => queue.messages === 0 && queue.consumers > 0)
        .map(({ queue }) => queue);
      const held = await findHeldConsumers(sql, taken, afterMs); // who is held keeps what it took in its hands
      const idle = new Set(taken.filter((consumer) => !held.has(consumer)));
      const lost = new Map((await countLost(sql)).map((known) => [known.consumer, known.lost]));
      for (const consumer of lost.keys()) {
        if (idle.has(consumer)) lost.set(consumer, await forgetFound(sql, consumer));
      }
      for (let sweeps = 0; sweeps < SWEEPS && goesOn(); sweeps++) {
        const open = bindings.filter(({ consumer }) =>
          idle.has(consumer) && (lost.get(consumer) ?? 0) < MAX_LOST
        );
        const swept = await sweepSendings(sql, open, until, SWEPT_AT_ONCE);
        if (swept.length === 0) break;
        for (const found of swept) lost.set(found.consumer, (lost.get(found.consumer) ?? 0) + found.lost);
      }
      const unsent = new Map<string, string[]>();
      for (const [consumer, events] of lost) {
        if (events > 0 && idle.has(consumer)) unsent.set(consumer, await findUnsent(sql, consumer, until));
      }
      const resent = await sendAgain(sql, publisher, unsent, goesOn);
      return { resent, lost: [...lost.values()].reduce((sum, events) => sum + events, 0) };
    },
  };
}

/** Sends to each consumer the events whose ids it has in `unsent`, in turns; answers with how many each got. */
async function sendAgain(
  sql: Sql,
  publisher: Publisher,
  unsent: Map<string, string[]>,
  goesOn: () => boolean,
): Promise<Record<string, number>> {
  const resent: Record<string, number> = {};
  for (let [next] = unsent; next && goesOn(); [next] = unsent) {
    const [consumer, ids] = next;
    unsent.delete(consumer);
    const messages = await readEventsForPublishing(sql, ids.slice(0, SENT_AT_ONCE));
    const startedAt = new Date();
    const { confirmed } = await publisher.publish(messages, toQueue(consumer), CONFIRM_TIMEOUT_MS);
    if (confirmed.length === 0) continue; // the next pass tries again
    await markSentAgain(sql, consumer, confirmed, startedAt);
    resent[consumer] = (resent[consumer] ?? 0) + confirmed.length;
    if (ids.length > SENT_AT_ONCE) unsent.set(consumer, ids.slice(SENT_AT_ONCE));
  }
  return resent;
}

interface ReconcilingOptions extends ReconcilerOptions {
  readonly wire: () => ReconcileWire | null;
  readonly intervalMs: number;
  /** Told of each consumer that got something again. */
  readonly onResent?: (events: number) => void;
  readonly log: Logger;
}

/** Any number, the same for every relay of a database. */
const LOCK_KEY = 7_203_114_002;

/** The pause after a pass that has sent something, in milliseconds; it doubles with each one that has not. */
const SOON_MS = 1000;

/**
 * Reconciles until `stop` is aborted: every `intervalMs`, and sooner while something is lost, as its consumer hurries. A
 * pass is left out while another relay is at one: both would find the same events lost, and the same queues empty.
 */
export function keepReconciling(options: ReconcilingOptions, stop: AbortSignal): Promise<void> {
  const { sql, wire, intervalMs: everyMs, onResent, log } = options;
  const reconciler = createReconciler(options);
  let pauseMs = everyMs;

  async function round(): Promise<number> {
    const wired = wire();
    const { resent, lost } = wired ? await passAlone(wired) : NOTHING;
    const consumers = Object.entries(resent);
    for (const [consumer, events] of consumers) {
      log.warning("Sent again what never arrived", { consumer, events });
      onResent?.(events);
    }
    if (consumers.length > 0) pauseMs = SOON_MS;
    else pauseMs = lost > 0 ? 2 * pauseMs : everyMs;
    return pauseMs = Math.min(pauseMs, everyMs);
  }

  function passAlone(wired: ReconcileWire): Promise<ReconcilePass> {
    return transaction(sql, async (tx) => {
      const [lock] = await tx<{ ours: boolean }[]>`select pg_try_advisory_xact_lock(${LOCK_KEY}) as ours`;
      return lock?.ours ? await reconciler.pass(wired, stop) : NOTHING;
    });
  }

  return keepDoing("Reconciliation", round, { everyMs, log, stop }).running;
}

const NOTHING: ReconcilePass = { resent: {}, lost: 0 };
