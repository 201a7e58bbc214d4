// The sentences of an order's story, by what happened. What stands in brackets is filled in.

import type { Beat, BeatCause, TimelineEntryJson } from "./answers.ts";

/** What a transaction did, by the event that it told: as a sentence, the first of what it wrote, and what the row says then. */
export const TOLD: Readonly<
  Record<string, { readonly title: string; readonly wrote: string; readonly row: string }>
> = {
  "payment.succeeded": { title: "Payments charged the card", wrote: "the charge", row: "SUCCEEDED" },
  "payment.failed": { title: "The card was declined", wrote: "the failed payment", row: "FAILED" },
  "enrollment.granted": { title: "Enrollments granted a seat", wrote: "the seat", row: "GRANTED" },
  "enrollment.failed": {
    title: "Enrollments found no seat left",
    wrote: "the refusal",
    row: "FAILED: no seat",
  },
  "refund.succeeded": { title: "Payments gave the money back", wrote: "the refund", row: "REFUND_SUCCEEDED" },
  "notification.sent": { title: "Notifications told the buyer", wrote: "the notification", row: "1 sent" },
};

/** What a move of the order means. */
export const MOVED: Readonly<Record<string, string>> = {
  PAID: "The order is PAID",
  COMPLETED: "The order is COMPLETED: paid, and the seat is granted",
  PAYMENT_FAILED: "The order ends as PAYMENT_FAILED",
  REFUND_IN_PROGRESS: "The order turns back: REFUND_IN_PROGRESS",
  REFUNDED: "The order ends as REFUNDED",
};

export const WHY_DEAD: Readonly<Record<string, string>> = {
  "retries exhausted": "All its retries are spent.",
  "kills its worker": "It ended its worker again and again; now the messages behind it can go on.",
  "too early": "What it builds on did not come in all its retries.",
};

/** What went another way than usual with a copy that is processed; `{time}` is how long it took. */
export const WHY_PROCESSED: Readonly<Partial<Record<BeatCause, string>>> = {
  again: "An operator had it sent again.",
  crashed: "The worker that had it before was gone before its commit, and left nothing.",
  delayed:
    "It had waited {time} in its queue: the broker held it back, or its consumer was away, held or behind.",
  lost: "It was the copy that was sent again.",
  redriven: "Its dead letter had been sent again.",
  slow:
    "Its consumer had it for {time}: it was slow or held, or waited for the database or the payment provider.",
};

/** And with one that is absorbed. */
export const WHY_ABSORBED: Readonly<Partial<Record<BeatCause, string>>> = {
  again: "An operator had it sent again.",
  crashed: "The worker that had it before had committed it, and was gone before its ack.",
  duplicate: "The broker delivered it twice.",
  lost: "It had been sent again as lost, and was only late.",
  redriven: "Its dead letter had been sent again.",
  retried: "It had been sent again as a delayed retry.",
};

/** What is about one consumer's copy of a message. */
export type CopyKind = Exclude<TimelineEntryJson["kind"], "status" | "emitted" | "published">;

/**
 * What happens to one consumer's copy. It lands where `to` says. With a `cause` it is on its way yet, and what comes of it is
 * told with that; without one, it is told with what led there.
 */
interface CopyBeat {
  readonly beat: Beat["kind"];
  readonly to: "waits" | "taken" | "done" | "retry" | "dead";
  readonly cause?: BeatCause;
  readonly title: string;
  readonly text: string;
}

export const COPY_BEATS: Readonly<Record<CopyKind, CopyBeat>> = {
  processed: {
    beat: "processed",
    to: "done",
    title: "{title}",
    text: "{wrote} {attempt} {processed} {early}",
  },
  taken: {
    beat: "taken",
    to: "taken",
    cause: "slow",
    title: "{who} took up {name}",
    text: "It had it for {held}. {processed}",
  },
  redelivered: {
    beat: "redelivered",
    to: "taken",
    cause: "crashed",
    title: "{who} got {name} once more",
    text: "It had been delivered and not acked: that worker crashed, was stopped, or lost its connection.",
  },
  duplicate: {
    beat: "absorbed",
    to: "done",
    title: "{who} absorbed a repeat of {name}",
    text: "{absorbed} The inbox has its row already, so nothing was done twice. {repeat}",
  },
  retry: {
    beat: "failed",
    to: "retry",
    title: "{who} could not process {name}{attempt}",
    text: "{error} The transaction was rolled back: only the retry is noted. {due} {processed}",
  },
  retried: {
    beat: "sent-again",
    to: "waits",
    cause: "retried",
    title: "The relay sent {name} to {who} again",
    text: "Its delayed retry was due.",
  },
  resent: {
    beat: "sent-again",
    to: "waits",
    cause: "lost",
    title: "{who} never got {name}: the relay sent it again",
    text: "The broker had lost it: it was sent {sent} before, and neither in its queue nor processed.",
  },
  replayed: {
    beat: "sent-again",
    to: "waits",
    cause: "again",
    title: "{name} was sent to {who} again",
    text: "An operator asked for it. It has the same id: who has processed it will absorb the repeat.",
  },
  redriven: {
    beat: "sent-again",
    to: "waits",
    cause: "redriven",
    title: "The dead letter of {name} was sent to {who} again",
    text: "An operator asked for it. It starts anew, with all its retries.",
  },
  "dead-letter": {
    beat: "dead",
    to: "dead",
    title: "{who} gave up on {name}",
    text: "{dead} It is a dead letter now, until somebody sends it again or discards it.",
  },
  discarded: {
    beat: "discarded",
    to: "dead",
    title: "The dead letter of {name} was discarded",
    text: "An operator asked for it: nobody sends it to {who} again.",
  },
};

/** A text with the `words` for what is in brackets in it, or nothing. */
export function fill(text: string, words: Readonly<Record<string, string>>): string {
  return text.replaceAll(/ ?\{(\w+)\}/g, (place, word) => {
    const filled = words[word] ?? "";
    return filled && place.startsWith(" ") ? ` ${filled}` : filled;
  }).trim();
}
