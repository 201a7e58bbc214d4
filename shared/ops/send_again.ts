// Sending the messages of a frozen set, a few at a time: whoever does it, the relay at its pace or a request at once.

import {
  type OutgoingMessage,
  type Publisher,
  publishToQueues,
  type Route,
  toQueue,
} from "../broker/publish.ts";
import { retryDelayMs } from "../broker/settle.ts";
import { type Queryable, rowset, storableText, type Transaction } from "../sql/connect.ts";
import { firstIdOf, readEventsForPublishing } from "../sql/outbox.ts";
import type { RedrivenJson } from "./answers.ts";
import { type ClaimedLetter, claimOpenLetters, closeLetters, keepEdit } from "./dead_letters.ts";
import { GONE, isFresh, MAX_REPLAY_RATE, type ReplayRow } from "./replays.ts";

/** Failed tries in a row after which a replay ends. */
export const MAX_REPLAY_TRIES = 8;
/** How long the broker may take to answer for one sending, in milliseconds; a cancel waits for it. */
const CONFIRM_TIMEOUT_MS = 5000;
/** When the relay goes on with a set that somebody redrives by requests, and has left, in milliseconds. */
const HAND_OVER_MS = 10_000;

/** Where the rate is high enough: few transactions, an even flow. */
const CHUNKS_PER_SECOND = 10;

/**
 * The pace of `rate` messages per second (1 or more): `size` at a time, and `everyMs` milliseconds at least between the end
 * of one such sending and the start of the next. No second, wherever it starts, has more than `rate` of them.
 */
export function paceOf(rate: number): { readonly size: number; readonly everyMs: number } {
  const size = Math.max(1, Math.floor(rate / CHUNKS_PER_SECOND));
  return { size, everyMs: Math.ceil(1000 / Math.floor(rate / size)) };
}

/** How long until the next messages of any running set are due, in milliseconds, 0 for now; null where none runs. */
export async function nextReplayDueInMs(sql: Queryable): Promise<number | null> {
  const [row] = await sql<{ dueInMs: number }[]>`
    select ceil(extract(epoch from greatest(due_at - clock_timestamp(), interval '0')) * 1000)::int as "dueInMs"
    from replays where state = 'RUNNING' order by due_at limit 1`;
  return row?.dueInMs ?? null;
}

/** A running set. `rate` is per second, at most; `retryCount` are failed tries in a row. */
export type DueReplay = Pick<ReplayRow, "id" | "action" | "total" | "sent" | "skipped"> & {
  readonly rate: number;
  readonly retryCount: number;
};

/**
 * Claims the running set that has been due the longest. The claim is the row's lock, so it ends with the transaction,
 * however that ends, and two relays never send from one set at once. Undefined where none is due and free.
 */
export async function claimDueReplay(sql: Queryable): Promise<DueReplay | undefined> {
  const [row] = await sql<DueReplay[]>`
    select ${dueColumns(sql)} from replays
    where state = 'RUNNING' and due_at <= clock_timestamp()
    order by due_at limit 1
    for update skip locked`;
  return row;
}

/**
 * Starts a prepared set of letters that has not expired, or goes on with one that runs, for the transaction's own sending:
 * its lock keeps the relay off until then. Undefined where there is no such set.
 */
export async function takeUpLetters(sql: Queryable, id: string): Promise<DueReplay | undefined> {
  const [row] = await sql<DueReplay[]>`
    update replays set state = 'RUNNING', rate = coalesce(rate, ${MAX_REPLAY_RATE}), due_at = clock_timestamp(),
      started_at = coalesce(started_at, clock_timestamp())
    where id = ${id} and action = 'REDRIVE' and (${isFresh(sql)} or state = 'RUNNING')
    returning ${dueColumns(sql)}`;
  return row;
}

function dueColumns(sql: Queryable) {
  return sql`id, action, total, sent, skipped, rate, retry_count as "retryCount"`;
}

/** A message that is to be sent. `repeats` are those that its consumer has absorbed; null: it lacks the event. */
interface SetMessage {
  readonly position: number;
  readonly eventId: string;
  readonly letterId: string | null;
  readonly consumer: string;
  readonly repeats: number | null;
}

/** A message that has been dealt with: sent, where `error` is null, or skipped because of that. */
type SettledMessage = SetMessage & { readonly error: string | null };

/** Up to `limit` messages of the set `id` that are still to be sent, in the order of the set. */
export async function readWaitingMessages(sql: Queryable, id: string, limit: number): Promise<SetMessage[]> {
  return await sql<SetMessage[]>`
    select m.position, m.event_id as "eventId", m.letter_id as "letterId", m.consumer, p.duplicates as repeats
    from replay_events m
    left join processed_events p on p.event_id = m.event_id and p.consumer = m.consumer
    where m.replay_id = ${id} and m.settled_at is null order by m.position limit ${limit}`;
}

/** How a set stands after a try: `error` is null where that went well, `dueInMs` where nothing is left to be tried. */
export interface ReplayProgress extends Pick<DueReplay, "sent" | "skipped" | "retryCount"> {
  readonly state: "RUNNING" | "DONE" | "CANCELLED";
  readonly error: string | null;
  /** Why it was cancelled. */
  readonly reason: string | null;
  readonly dueInMs: number | null;
}

/**
 * How the set stands after a try of which the broker took `taken` messages, and `skipped` were not to be sent any more;
 * `hasMore` says whether messages are still to be sent, `error` why the broker did not take one. It goes on after `everyMs`,
 * or later where nothing went; `random` is from [0, 1) and spreads that.
 */
export function progressAfter(
  set: DueReplay,
  { taken, skipped, hasMore, error, everyMs }: {
    readonly taken: number;
    readonly skipped: number;
    readonly hasMore: boolean;
    readonly error: string | null;
    readonly everyMs: number;
  },
  random: number,
): ReplayProgress {
  const counts = { sent: set.sent + taken + skipped, skipped: set.skipped + skipped };
  const well = { ...counts, retryCount: 0, error: null, reason: null };
  if (!hasMore) { // a message that is not among these is gone with what was deleted
    const done = { sent: set.total, skipped: set.total - (counts.sent - counts.skipped) };
    return { ...well, ...done, state: "DONE", dueInMs: null };
  }
  if (error === null) return { ...well, state: "RUNNING", dueInMs: everyMs };
  const retryCount = taken + skipped > 0 ? 1 : set.retryCount + 1;
  const failed = { ...well, retryCount, error };
  if (retryCount >= MAX_REPLAY_TRIES) {
    const reason = `given up after ${MAX_REPLAY_TRIES} tries in a row: ${error}`;
    return { ...failed, state: "CANCELLED", reason, dueInMs: null };
  }
  return { ...failed, state: "RUNNING", dueInMs: Math.max(retryDelayMs(retryCount - 1, random), everyMs) };
}

/**
 * Writes down how the set `id`, claimed in this transaction, stands, and what was done with some of its messages: as of the
 * transaction's beginning, which is before they were sent. The first 500 characters of an error are kept.
 */
export async function recordReplayProgress(
  sql: Queryable,
  id: string,
  settled: readonly SettledMessage[],
  { state, sent, skipped, retryCount, dueInMs, ...said }: ReplayProgress,
): Promise<void> {
  const storable = (words: string | null) => words && storableText(words); // the broker's
  const [error, reason] = [storable(said.error), storable(said.reason)];
  const rows = settled.map(({ position, repeats, error }) => ({ position, repeats, error: storable(error) }));
  await sql`
    with settled as (
      update replay_events m
      set settled_at = now(), result = case when s.error is null then 'SENT' else 'SKIPPED' end,
          error = left(s.error, 500), repeats_before = s.repeats
      from jsonb_to_recordset(${rowset(rows)}::text::jsonb) as s (position int, repeats int, error text)
      where m.replay_id = ${id} and m.position = s.position
    )
    update replays
    set state = ${state}, sent = ${sent}, skipped = ${skipped}, retry_count = ${retryCount},
        last_error = coalesce(left(${error}, 500), last_error), reason = left(${reason}, 500),
        due_at = clock_timestamp() + ${dueInMs}::float8 * interval '1 millisecond',
        finished_at = case when ${state} = 'RUNNING' then null else clock_timestamp() end
    where id = ${id}`;
}

/** What goes out once, for one or several messages of the set. */
interface Copy {
  /** Whose queue it goes to; empty for the exchange. */
  readonly consumer: string;
  readonly for: readonly SetMessage[];
  readonly outgoing: OutgoingMessage;
}

/** What is sent in the place of a letter's own body. */
export type Edit = Pick<OutgoingMessage, "type" | "correlationId"> & { readonly body: string };

/** How {@linkcode sendNext} sends. */
interface SendingOptions {
  readonly publisher: Publisher;
  /** Messages at most. */
  readonly size: number;
  /**
   * Where republished events go, and the horizon, before which none is replayed. The relay has them: it sends at the set's
   * pace, and tries again what the broker gives no answer for. A request sends letters alone, and each once.
   */
  readonly relay?: { readonly exchange: Route; readonly horizon: Date };
  readonly edited?: Edit | undefined;
}

/**
 * Sends the next messages of a set that this transaction has claimed: letters and replayed events each to its consumer's
 * queue alone, republished ones to the exchange. Killed before the commit, they were sent for nothing: they are sent once
 * more, and the inbox absorbs that. A letter that the broker refuses stays open, and is not tried again. Answers with how
 * the set stands, and with what was dealt with.
 */
export async function sendNext(
  tx: Transaction,
  set: DueReplay,
  { publisher, size, relay, edited }: SendingOptions,
) {
  const waiting = await readWaitingMessages(tx, set.id, size + 1); // one more tells whether there are more
  const messages = waiting.slice(0, size);
  const isOfLetters = set.action === "REDRIVE";
  const { copies, skipped } = isOfLetters
    ? await sortLetters(tx, messages, edited)
    : await sortEvents(tx, messages, set.action === "REPLAY" && relay ? relay.horizon : null);
  const { taken, refused, silence } = await publishToQueues(
    publisher,
    copies,
    ({ outgoing }) => outgoing,
    CONFIRM_TIMEOUT_MS,
    (consumer) => consumer === "" && relay ? relay.exchange : toQueue(consumer),
  );
  const sent = taken.flatMap((copy) => copy.for.map((message) => ({ ...message, error: null })));
  const answered = new Set([...taken, ...refused.map(({ thing }) => thing)]);
  const silent = relay || silence === null ? [] : copies.filter((copy) => !answered.has(copy));
  const givenUp = [...isOfLetters ? refused : [], ...silent.map((thing) => ({ thing, error: silence }))]
    .flatMap(({ thing, error }) => thing.for.map((message) => ({ ...message, error })));
  const settled: SettledMessage[] = [...skipped, ...sent, ...givenUp];
  if (isOfLetters) await closeLetters(tx, sent.map(({ letterId }) => letterId ?? ""), "REDRIVEN", "redriven");
  const [first] = isOfLetters ? [] : refused;
  const tried = {
    taken: sent.length,
    skipped: settled.length - sent.length,
    hasMore: settled.length < waiting.length,
    error: first ? `${first.thing.consumer}: ${first.error}` : relay ? silence : null,
    everyMs: relay ? paceOf(set.rate).everyMs : HAND_OVER_MS,
  };
  const progress = progressAfter(set, tried, Math.random());
  await recordReplayProgress(tx, set.id, settled, progress);
  return { progress, settled };
}

/**
 * Events are sent as they stand in the outbox, each once for all of its consumers where there is no `horizon`: they are
 * republished. Those that were pruned, or are older than that, are skipped.
 */
async function sortEvents(tx: Transaction, messages: readonly SetMessage[], horizon: Date | null) {
  const ids = new Set(messages.map(({ eventId }) => eventId));
  const read = await readEventsForPublishing(tx, [...ids], horizon === null); // older ones retention may be about to delete
  const events = new Map(read.map((event) => [event.id, event]));
  const copies: Copy[] = [];
  const skipped: SettledMessage[] = [];
  const all = Map.groupBy(messages, ({ eventId, consumer }) => horizon ? `${eventId} ${consumer}` : eventId);
  for (const same of all.values()) {
    const [{ eventId, consumer } = { eventId: "", consumer: "" }] = same;
    const event = events.get(eventId);
    if (!event || horizon && (event.id < firstIdOf(horizon) || event.occurredAt < horizon)) {
      skipped.push(...same.map((message) => ({ ...message, error: "pruned meanwhile, or too old" })));
    } else if (horizon) copies.push({ consumer, for: same, outgoing: event });
    else copies.push({ consumer: "", for: same, outgoing: { ...event, isRepublished: true } });
  }
  return { copies, skipped };
}

/** Why a letter was closed without being sent. */
const ALREADY_PROCESSED = "already processed";
const CUT =
  "only its beginning was kept, because it was too large: have it sent again by whoever sent it, and discard this";

/**
 * Letters are sent as they were received. One whose event was processed meanwhile is closed, since sending it would do
 * nothing; one whose body was cut stays open; one that somebody else holds is theirs. What there is too much of for one
 * transaction is left for the next one.
 */
async function sortLetters(tx: Transaction, messages: readonly SetMessage[], edited?: Edit) {
  const ids = messages.map(({ letterId }) => letterId ?? "");
  const letters = new Map((await claimOpenLetters(tx, ids)).map((letter) => [letter.id, letter]));
  const copies: Copy[] = [];
  const skipped: SettledMessage[] = [];
  for (const message of messages) {
    const letter = letters.get(message.letterId ?? "");
    const error = whyNotSent(letter, edited);
    if (error !== null) skipped.push({ ...message, error });
    else if (letter?.body) {
      const { eventType: type, body, ...rest } = letter;
      const outgoing = { ...rest, type, body, occurredAt: null, ...edited };
      copies.push({ consumer: letter.consumer, for: [message], outgoing });
    }
  }
  const processed = [...letters.values()].filter((letter) => letter.processed).map(({ id }) => id);
  await closeLetters(tx, processed, "DISCARDED", ALREADY_PROCESSED);
  return { copies, skipped };
}

function whyNotSent(letter: ClaimedLetter | undefined, edited?: Edit): string | null {
  if (!letter) return GONE;
  if (letter.processed) return ALREADY_PROCESSED;
  return letter.isCut && !edited ? CUT : null;
}

/** Letters that one request deals with at most; more are for the next one. */
export const MAX_LETTERS = 1000;

/**
 * Redrives up to 1,000 open letters of the set `setId`, each to its own consumer's queue and to nobody else; `edited` is for
 * the set of one letter. A letter is closed once the broker has its message; what the broker does not take stays open. What
 * is left of the set is for the next call; the relay goes on with it where none comes. Undefined where there is no such set.
 */
export async function redriveLetters(
  tx: Transaction,
  publisher: Publisher,
  setId: string,
  edited?: Edit,
): Promise<Omit<RedrivenJson, "setId"> | undefined> {
  const set = await takeUpLetters(tx, setId);
  if (!set) return undefined;
  const { progress, settled } = await sendNext(tx, set, { publisher, size: MAX_LETTERS, edited });
  const unsent = settled.flatMap(({ letterId, error }) => letterId && error ? [{ id: letterId, error }] : []);
  const redriven = settled.length - unsent.length;
  const [letter] = settled;
  if (edited && redriven === 1 && letter?.letterId) await keepEdit(tx, letter.letterId, edited.body);
  const countOf = (why: string) => unsent.filter(({ error }) => error === why).length;
  return {
    redriven,
    alreadyProcessed: countOf(ALREADY_PROCESSED),
    refused: unsent.filter(({ error }) => error !== GONE && error !== ALREADY_PROCESSED),
    gone: countOf(GONE),
    left: set.total - progress.sent,
  };
}
