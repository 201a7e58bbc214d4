/**
 * Why an order is not done: what it waits for, since when, and the one action that helps.
 *
 * @module
 */
import type { Binding } from "../broker/connection.ts";
import { isFinal, ORDER_TRANSITIONS } from "../order_status.ts";
import { rowset, type Sql } from "../sql/connect.ts";
import type { OrderRow } from "../sql/orders.ts";
import type { Row, WhyJson } from "./answers.ts";
import { BEFORE_MARK, beforeCommit, type Hold, RELAY_PART } from "./holds.ts";
import type { LiveProcess, LivePulse } from "./live.ts";
import { queuesOf } from "./story.ts";

/** An order's event on its way to one consumer that has not processed it. Times are by the database's clock. */
export interface OpenCopy {
  readonly eventId: string;
  readonly type: string;
  readonly consumer: string;
  readonly occurredAt: Date;
  readonly publishedAt: Date | null;
  /** What the broker said when it refused it; null where it has not. */
  readonly refusal: string | null;
  /** The delayed retry; `dueAt` is null where none waits. */
  readonly retries: number | null;
  readonly error: string | null;
  readonly failedAt: Date | null;
  readonly dueAt: Date | null;
  /** The dead letter that stands for it, open or discarded; null where there is none, or it has been sent again since. */
  readonly letter: { readonly id: string; readonly reason: string; readonly state: string } | null;
  readonly letterAt: Date | null;
  /** When it last went to this consumer: published, retried, redriven or sent by reconciliation. */
  readonly sentAt: Date | null;
  /** Whether reconciliation has found it missing. */
  readonly isKnownLost: boolean;
  /** Up to when reconciliation has compared what was sent with the inbox; null before it first has. */
  readonly comparedUntil: Date | null;
  readonly now: Date;
}

/** What is known of the whole system; `maxRetries` where the API is told. */
export interface SystemFacts {
  readonly live: Pick<LivePulse, "queues" | "processes" | "outbox">;
  readonly bindings: readonly Binding[];
  readonly maxRetries: number | undefined;
  readonly holds: readonly Pick<Hold, "part" | "sinceAt" | "untilAt">[];
}

/**
 * Reads in one statement what of the order `orderId` is open, oldest event first. The letter of a spoilt copy, which has
 * no more of an event than its id, is not the event's (see `sql/lost_events.ts`).
 */
export async function readOpenCopies(
  sql: Sql,
  orderId: string,
  bindings: readonly Binding[],
): Promise<OpenCopy[]> {
  const places = bindings.map((binding, place) => ({ ...binding, place }));
  return await sql<OpenCopy[]>`
    select e.id as "eventId", e.type, b.consumer, e.occurred_at as "occurredAt", e.published_at as "publishedAt",
           case when e.next_attempt_at > '-infinity' then e.last_error end as refusal, r.retries, r.error, r.last_failed_at as "failedAt", r.due_at as "dueAt",
           d.letter, d.at as "letterAt", l.event_id is not null as "isKnownLost",
           greatest(e.published_at, r.sent_at, l.sent_at, (
             select max(resolved_at) from dead_letters redriven
             where event_id = e.id and consumer = b.consumer and state = 'REDRIVEN')) as "sentAt",
           (select max(sent_until) from reconciliation_cursors where isfinite(sent_until)) as "comparedUntil",
           clock_timestamp() as now
    from outbox_events e
    join jsonb_to_recordset(${
    rowset(places)
  }::text::jsonb) as b (consumer text, type text, place int) using (type)
    left join delayed_retries r on r.event_id = e.id and r.consumer = b.consumer
    left join lost_events l on l.event_id = e.id and l.consumer = b.consumer
    left join lateral (
      select json_build_object('id', id, 'reason', reason, 'state', state) as letter, coalesce(resolved_at, last_failed_at) as at
      from dead_letters
      where event_id = e.id and consumer = b.consumer
        and (state = 'OPEN' or state = 'DISCARDED' and resolved_at > e.published_at)
        and (not is_malformed or fingerprint = sha256(convert_to(e.payload::text, 'UTF8')))
      order by state = 'OPEN' desc, id desc limit 1
    ) as d on true
    where e.order_id = ${orderId}
      and not exists (select from processed_events p where p.event_id = e.id and p.consumer = b.consumer)
    order by e.id, b.place`;
}

type Reason = Omit<Row<WhyJson>, "orderId" | "status" | "since"> & { readonly since: Date };
export type Why = Reason & Pick<WhyJson, "orderId" | "status">;

const RELAY = "outbox-relay";
/**
 * What was sent this long ago, in milliseconds, to a queue that is empty, is hardly still in its consumer's hands: twice as
 * long as the payment provider may take.
 */
const LOST_MS = 10_000;
/** What waits for this long in the outbox of a relay that beats, in milliseconds, needs a look: it looks every second. */
const OUTBOX_OLD_MS = 10_000;

/** Says why. Pure: the most specific cause first. */
export function whyOf(
  order: Pick<OrderRow, "id" | "status" | "updatedAt">,
  copies: readonly OpenCopy[],
  system: SystemFacts,
): Why {
  const { id: orderId, status, updatedAt } = order;
  const copy = awaitedCopy(order, copies, system);
  const reason = isFinal(status)
    ? because("final", updatedAt, `Nothing: ${status} is final.`)
    : !copy
    ? because(
      "unknown",
      updatedAt,
      `Nothing is on its way that would move it on from ${status}.`,
      "Look for what is broken: deno task audit.",
    )
    : setAsideReason(orderId, copy, system) ?? heldReason(copy, system) ??
      (copy.publishedAt ? queueReason(copy, system) ?? sentReason(copy, system) : outboxReason(copy, system));
  return { orderId, status, ...reason };
}

function because(
  cause: WhyJson["cause"],
  since: Date,
  sentence: string,
  action: string | null = null,
  more: Partial<Pick<Reason, "deadLetterId" | "retryAt">> = {},
): Reason {
  return { cause, since, sentence, action, ...more };
}

/**
 * The copy that the order waits for: its own module's one of an event that moves it on; where no such event has happened
 * yet, one of the newest event, which has to bring it about.
 */
function awaitedCopy(
  { status }: Pick<OrderRow, "status">,
  copies: readonly OpenCopy[],
  { bindings }: SystemFacts,
): OpenCopy | undefined {
  const moves = ({ type }: OpenCopy) =>
    ORDER_TRANSITIONS.some(({ from, on }) => from === status && on === type);
  const newest = copies.at(-1)?.eventId;
  return copies.find((copy) => moves(copy) && labelOf(copy, bindings).startsWith("orders.")) ??
    copies.find(({ eventId }) => eventId === newest);
}

function labelOf({ consumer }: OpenCopy, bindings: readonly Binding[]): string {
  return queuesOf(bindings).find(({ name }) => name === consumer)?.label ?? consumer;
}

/** Of what its consumer has set aside: a dead letter, or a retry. */
function setAsideReason(orderId: string, copy: OpenCopy, system: SystemFacts): Reason | null {
  const { type, consumer, letter, letterAt, dueAt: retryAt, retries } = copy;
  if (letter && letterAt) {
    const { id: deadLetterId, reason, state } = letter;
    const [cause, sentence, action] = state === "OPEN"
      ? [
        "dead-letter",
        `${consumer} gave up on its ${type}, for "${reason}": it is dead letter ${deadLetterId}.`,
        `Mend the cause, then send it again: POST /ops/dead-letters/${deadLetterId}/redrive.`,
      ] as const
      : [
        "discarded",
        `Dead letter ${deadLetterId}, its ${type} for ${consumer}, was discarded: nobody sends it again.`,
        `Should it go on after all: deno task replay --order=${orderId}.`,
      ] as const;
    return because(cause, letterAt, sentence, action, { deadLetterId });
  }
  if (!retryAt) return null;
  const since = copy.failedAt ?? copy.occurredAt;
  const isDue = retryAt <= copy.now;
  const away = isDue
    ? relayReason(copy, since, `send the retry of its ${type} to ${consumer}`, system)
    : null;
  const of = system.maxRetries === undefined ? "" : ` of ${system.maxRetries}`;
  const which = retries ? `Retry ${retries}${of}` : "The next attempt";
  const when = isDue ? "is due" : `in ${span(copy.now, retryAt)}`;
  const sentence = `${which} ${when}: ${consumer} could not process its ${type}: ${copy.error}.`;
  return away ?? because("retry", since, sentence, null, { retryAt });
}

/** Of what an operator holds: the relay while it is unpublished, then its consumer; null where neither is. */
function heldReason({ type, consumer, publishedAt, now }: OpenCopy, { holds }: SystemFacts): Reason | null {
  const parts = publishedAt ? [consumer, beforeCommit(consumer)] : [RELAY_PART, BEFORE_MARK];
  const hold = holds.find(({ part }) => parts.includes(part));
  if (!hold) return null;
  const sentence = `Its ${type} is held at ${hold.part}, for ${span(now, hold.untilAt)} more.`;
  const path = `/ops/holds/${hold.part}`;
  const action = `Let one event through: POST ${path}/step; or all: DELETE ${path}.`;
  return because("held", hold.sinceAt, sentence, action, { retryAt: hold.untilAt });
}

function outboxReason(copy: OpenCopy, system: SystemFacts): Reason {
  const { type, eventId, occurredAt: since, refusal, now } = copy;
  const away = relayReason(copy, since, `publish its ${type}`, system);
  if (away) return away;
  if (refusal !== null) {
    const action = `Read what the broker has against it: GET /ops/outbox/${eventId}.`;
    return because("refused", since, `The broker refuses its ${type}: ${refusal}.`, action);
  }
  const ms = now.getTime() - since.getTime();
  const others = counted(Math.max(system.live.outbox.pending - 1, 0), "other event");
  const action = ms < OUTBOX_OLD_MS ? null : "Have the relay look now: POST /ops/outbox/tick.";
  return because(
    "outbox",
    since,
    `Its ${type} has waited in the outbox for ${span(since, now)}, with ${others}.`,
    action,
  );
}

/** What keeps the relay from its `task`; null where nothing does. Since `since` there is something to do. */
function relayReason({ now }: OpenCopy, since: Date, task: string, { live }: SystemFacts): Reason | null {
  const relays = live.processes.filter(({ name }) => name === RELAY);
  const silentSince = silenceOf(relays);
  const action = `Start a relay: deno task worker:${RELAY}.`;
  if (silentSince) {
    const sentence = `The relay is to ${task}, and has been silent for ${span(silentSince, now)}.`;
    return because("relay-silent", silentSince, sentence, action);
  }
  if (relays.length === 0) return because("relay-silent", since, `No relay runs that could ${task}.`, action);
  return live.queues ? null : brokerReason(since);
}

function brokerReason(since: Date): Reason {
  return because("broker-away", since, "The broker cannot be reached.", "Bring the broker of AMQP_URL back.");
}

/** Since when these processes are silent: none of them beats any more. Null where one does, or there is none. */
function silenceOf(processes: readonly LiveProcess[]): Date | null {
  if (processes.length === 0 || processes.some(({ isStale }) => !isStale)) return null;
  return new Date(Math.max(...processes.map(({ seenAt }) => Date.parse(seenAt))));
}

/** Of what was sent: why its consumer cannot have taken it up yet; null where it can. */
function queueReason(copy: OpenCopy, { live: { queues, processes }, bindings }: SystemFacts): Reason | null {
  const { type, consumer, sentAt, occurredAt, now } = copy;
  const since = sentAt ?? occurredAt;
  if (!queues) return brokerReason(since);
  const name = labelOf(copy, bindings).replace(".", "-");
  const action = `Start a consumer: deno task worker:${name}.`;
  const { messages, consumers } = queues.find(({ queue }) => queue === consumer) ??
    { messages: 0, consumers: 0 };
  if (consumers === 0) {
    return because("no-consumer", since, `Its ${type} waits: no consumer on ${consumer}.`, action);
  }
  const silentSince = silenceOf(processes.filter((process) => process.name === name));
  if (silentSince) {
    const sentence = `${name} is to process its ${type}, and has been silent for ${span(silentSince, now)}.`;
    return because("consumer-silent", silentSince, sentence, action);
  }
  if (messages === 0) return null;
  const [waits, among] = [span(since, now), counted(messages, "message")];
  return because("queue", since, `Its ${type} has waited in ${consumer} for ${waits}, among ${among}.`);
}

/** Of what was sent to a queue that is empty: it is in its consumer's hands, or lost. */
function sentReason(copy: OpenCopy, system: SystemFacts): Reason {
  const { type, consumer, sentAt, occurredAt, comparedUntil, now } = copy;
  const since = sentAt ?? occurredAt;
  const sent = `Its ${type} was sent to ${consumer} ${span(since, now)} ago`;
  if (!copy.isKnownLost && now.getTime() - since.getTime() < LOST_MS) {
    return because("processing", since, `${sent}, and is being processed.`);
  }
  const away = relayReason(copy, since, `send its ${type} to ${consumer} again`, system);
  if (away) return away;
  // Up to where reconciliation has compared moves on as the clock does: what it is short of is the time left.
  const leftMs = Math.max(since.getTime() - (comparedUntil ?? since).getTime(), 0);
  const retryAt = comparedUntil && new Date(now.getTime() + leftMs);
  const when = leftMs > 0 && retryAt ? `in about ${span(now, retryAt)}` : "when the relay next compares";
  const action = `Not to wait for that: POST /ops/outbox/${copy.eventId}/republish.`;
  const more = retryAt ? { retryAt } : {};
  const isLost = copy.isKnownLost ? "is lost" : "seems lost"; // by then at the latest it is known
  return because("lost", since, `${sent}, ${isLost}, and will be sent again ${when}.`, action, more);
}

/** The time from one instant to another, for people: `4 s`, `3 min`, `2 h`. */
function span(from: Date, to: Date): string {
  const seconds = Math.max(Math.round((to.getTime() - from.getTime()) / 1000), 0);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function counted(count: number, one: string): string {
  return `${count} ${one}${count === 1 ? "" : "s"}`;
}
