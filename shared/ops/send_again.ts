/**
 * Sending the messages of a frozen set, a few at a time: whoever does it, the relay at its pace or a request at once.
 *
 * @module
 */
import type { OutgoingMessage, Publisher, Route } from "../broker/publish.ts";
import { publishToQueues, toQueue } from "../broker/publish.ts";
import { retryDelayMs } from "../broker/settle.ts";
import type { Transaction } from "../sql/connect.ts";
import { firstIdOf, readEventsForPublishing } from "../sql/outbox.ts";
import { type ClaimedLetter, claimOpenLetters, closeLetters } from "./dead_letters.ts";
import {
  type DueReplay,
  GONE,
  readWaitingMessages,
  recordReplayProgress,
  type ReplayProgress,
  type SetMessage,
  type SettledMessage,
} from "./replays.ts";

/** Failed tries in a row after which a replay ends. */
export const MAX_REPLAY_TRIES = 8;
/** How long the broker may take to answer for one sending, in milliseconds; a cancel waits for it. */
const CONFIRM_TIMEOUT_MS = 5000;

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

/** What became of the messages of one try. */
export interface ReplayTry {
  /** How many the broker has taken. */
  readonly taken: number;
  /** How many were not to be sent any more. */
  readonly skipped: number;
  /** Whether messages of the set are still to be sent. */
  readonly more: boolean;
  /** Why the broker did not take one that it was sent; null where it took all. */
  readonly error: string | null;
}

/** How the set stands after a try. `random` is from [0, 1) and spreads the retries. */
export function progressAfter(
  replay: DueReplay,
  { taken, skipped, more, error }: ReplayTry,
  random: number,
): ReplayProgress {
  const { total } = replay;
  if (!more) { // what was not taken by now was skipped, or is gone with the set
    const all = replay.sent - replay.skipped + taken;
    return { state: "DONE", sent: total, skipped: Math.max(total - all, 0), retryCount: 0, error: null };
  }
  const sent = Math.min(replay.sent + taken + skipped, total);
  const counts = { sent, skipped: Math.min(replay.skipped + skipped, sent) };
  const { everyMs } = paceOf(replay.rate);
  if (error === null) return { ...counts, state: "RUNNING", retryCount: 0, error, dueInMs: everyMs };
  const failed = { ...counts, retryCount: taken + skipped > 0 ? 1 : replay.retryCount + 1, error };
  if (failed.retryCount >= MAX_REPLAY_TRIES) {
    return {
      ...failed,
      state: "CANCELLED",
      reason: `given up after ${MAX_REPLAY_TRIES} tries in a row: ${error}`,
    };
  }
  const dueInMs = Math.max(retryDelayMs(failed.retryCount - 1, random), everyMs);
  return { ...failed, state: "RUNNING", dueInMs };
}

/** What goes out once, for one or several messages of the set. */
interface Copy {
  /** Whose queue it goes to; empty for the exchange. */
  readonly consumer: string;
  readonly for: readonly SetMessage[];
  readonly outgoing: OutgoingMessage;
}

/** Those to be sent, and those that are not sent any more, each with why. */
interface Sorted {
  readonly copies: readonly Copy[];
  readonly skipped: readonly SettledMessage[];
}

/** How {@linkcode sendNext} sends. */
export interface SendingOptions {
  readonly publisher: Publisher;
  /** Messages at most. */
  readonly size: number;
  /** For events: where republished ones go, and the horizon, before which none is replayed. */
  readonly events?: { readonly exchange: Route; readonly horizon: Date };
  /** Whether what the broker gives no answer for is tried again later. */
  readonly isPatient: boolean;
  /** When the set is due again, where the pace does not say. */
  readonly dueInMs?: number;
  /** What is sent in the place of a letter's own body. */
  readonly edited?: Pick<OutgoingMessage, "body" | "type" | "correlationId"> | undefined;
}

/**
 * Sends the next messages of a set that this transaction has claimed: letters and replayed events each to its consumer's
 * queue alone, republished ones to the exchange. Killed before the commit, they were sent for nothing: they are sent once
 * more, and the inbox absorbs that. A letter that the broker refuses stays open, and is not tried again. Answers with how
 * the set stands, and with what was dealt with.
 */
export async function sendNext(tx: Transaction, set: DueReplay, options: SendingOptions) {
  const { publisher, size, events, isPatient, edited } = options;
  const waiting = await readWaitingMessages(tx, set.id, size + 1); // one more tells whether there are more
  const messages = waiting.slice(0, size);
  const isOfLetters = set.action === "REDRIVE";
  const { copies, skipped } = isOfLetters
    ? await sortLetters(tx, messages, edited)
    : await sortEvents(tx, messages, set.action === "REPUBLISH" ? null : events?.horizon ?? null);
  const { taken, refused, silence } = await publishToQueues(
    publisher,
    copies,
    ({ outgoing }) => outgoing,
    CONFIRM_TIMEOUT_MS,
    (consumer) => consumer === "" && events ? events.exchange : toQueue(consumer),
  );
  const sent = taken.flatMap((copy) => copy.for.map((message) => ({ ...message, error: null })));
  const answered = new Set([...taken, ...refused.map(({ thing }) => thing)]);
  const silent = copies.filter((copy) => !answered.has(copy))
    .map((thing) => ({ thing, error: silence ?? "the broker gave no answer" }));
  const givenUp = [...isOfLetters ? refused : [], ...isPatient ? [] : silent]
    .flatMap(({ thing, error }) => thing.for.map((message) => ({ ...message, error })));
  const settled: SettledMessage[] = [...skipped, ...sent, ...givenUp];
  if (isOfLetters) await closeLetters(tx, sent.map(({ letterId }) => letterId ?? ""), "REDRIVEN", "redriven");
  const [first] = isOfLetters ? [] : refused;
  const after = progressAfter(set, {
    taken: sent.length,
    skipped: settled.length - sent.length,
    more: settled.length < waiting.length,
    error: first ? `${first.thing.consumer}: ${first.error}` : isPatient ? silence : null,
  }, Math.random());
  const { dueInMs } = options;
  const progress = after.state === "RUNNING" && dueInMs !== undefined ? { ...after, dueInMs } : after;
  await recordReplayProgress(tx, set.id, settled, progress);
  return { progress, settled };
}

/**
 * Events are sent as they stand in the outbox, each once for all of its consumers where there is no `horizon`: they are
 * republished. Those that were pruned, or are older than that, are skipped.
 */
async function sortEvents(
  tx: Transaction,
  messages: readonly SetMessage[],
  horizon: Date | null,
): Promise<Sorted> {
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
export const ALREADY_PROCESSED = "already processed";
const CUT =
  "only its beginning was kept, because it was too large: have it sent again by whoever sent it, and discard this";

/**
 * Letters are sent as they were received. One whose event was processed meanwhile is closed, since sending it would do
 * nothing; one whose body was cut stays open; one that somebody else holds is theirs. What there is too much of for one
 * transaction is left for the next one.
 */
async function sortLetters(
  tx: Transaction,
  messages: readonly SetMessage[],
  edited: SendingOptions["edited"],
): Promise<Sorted> {
  const ids = messages.map(({ letterId }) => letterId ?? "");
  const letters = new Map((await claimOpenLetters(tx, ids)).map((letter) => [letter.id, letter]));
  const copies: Copy[] = [];
  const skipped: SettledMessage[] = [];
  for (const message of messages) {
    const letter = letters.get(message.letterId ?? "");
    const error = letter ? whyNotSent(letter, edited) : GONE;
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

function whyNotSent({ processed, isCut }: ClaimedLetter, edited: SendingOptions["edited"]): string | null {
  if (processed) return ALREADY_PROCESSED;
  return isCut && !edited ? CUT : null;
}
