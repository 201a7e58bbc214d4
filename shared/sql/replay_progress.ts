/**
 * The tables `replays` and `replay_events`, as the relay uses them: take the next messages, say what became of them.
 *
 * @module
 */
import type { Queryable } from "./connect.ts";

/** A running replay whose next messages are due; its row is locked until the transaction ends. */
export interface DueReplay {
  /** The replay's id. */
  readonly id: string;
  /** Messages in the set. */
  readonly total: number;
  /** The position up to which all have been dealt with. */
  readonly sent: number;
  /** How many of those were not sent. */
  readonly skipped: number;
  /** Messages per second, at most. */
  readonly rate: number;
  /** Tries in a row that have failed. */
  readonly retryCount: number;
}

/** How long until the next messages of any running replay are due, in milliseconds, 0 for now; null where none runs. */
export async function nextReplayDueInMs(sql: Queryable): Promise<number | null> {
  const [row] = await sql<{ dueInMs: number }[]>`
    select ceil(extract(epoch from greatest(due_at - clock_timestamp(), interval '0')) * 1000)::int as "dueInMs"
    from replays where state = 'RUNNING' order by due_at limit 1`;
  return row?.dueInMs ?? null;
}

/**
 * Claims the running replay that has been due the longest. The claim is the row's lock, so it ends with the transaction,
 * however that ends, and two relays never send from one replay at once. Undefined where none is due and free.
 */
export async function claimDueReplay(sql: Queryable): Promise<DueReplay | undefined> {
  const [row] = await sql<DueReplay[]>`
    select id, total, sent, skipped, rate, retry_count as "retryCount" from replays
    where state = 'RUNNING' and due_at <= clock_timestamp()
    order by due_at limit 1
    for update skip locked`;
  return row;
}

/** One message of the frozen set. */
export interface ReplayMessage {
  /** Its place in the set, from 1 on. */
  readonly position: number;
  /** The event's id. */
  readonly eventId: string;
  /** Who gets it: the consumer's name, which is its queue's. */
  readonly consumer: string;
}

/** Up to `limit` messages of the set, in the order of sending, from behind the position `after`. */
export async function readReplayMessages(
  sql: Queryable,
  id: string,
  after: number,
  limit: number,
): Promise<ReplayMessage[]> {
  return await sql<ReplayMessage[]>`
    select position, event_id as "eventId", consumer from replay_events
    where replay_id = ${id} and position > ${after} order by position limit ${limit}`;
}

/** How a replay stands after a try. */
export type ReplayProgress =
  & {
    /** The position up to which all have been dealt with. */
    readonly sent: number;
    /** How many of those were not sent. */
    readonly skipped: number;
    /** Tries in a row that have failed. */
    readonly retryCount: number;
    /** What the try met with; null where it went well. */
    readonly error: string | null;
  }
  & (
    | { readonly state: "RUNNING"; readonly dueInMs: number }
    | { readonly state: "DONE" }
    | { readonly state: "CANCELLED"; readonly reason: string }
  );

/** Writes down how the replay `id`, claimed in this transaction, stands. The first 500 characters of an error are kept. */
export async function recordReplayProgress(
  sql: Queryable,
  id: string,
  progress: ReplayProgress,
): Promise<void> {
  const { state, sent, skipped, retryCount, error } = progress;
  const dueInMs = progress.state === "RUNNING" ? progress.dueInMs : null;
  const reason = progress.state === "CANCELLED" ? progress.reason : null;
  await sql`
    update replays
    set state = ${state}, sent = ${sent}, skipped = ${skipped}, retry_count = ${retryCount},
        last_error = coalesce(left(${error}, 500), last_error), reason = left(${reason}, 500),
        due_at = clock_timestamp() + ${dueInMs}::float8 * interval '1 millisecond',
        finished_at = case when ${state} = 'RUNNING' then null else clock_timestamp() end
    where id = ${id}`;
}
