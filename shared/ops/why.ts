// Why an order is not done: what it waits for, since when, and the one action that helps.

import type { Binding } from "../broker/connection.ts";
import { isFinal, ORDER_TRANSITIONS, type OrderStatus } from "../order_status.ts";
import { rowset, type Sql } from "../sql/connect.ts";
import type { OrderRow } from "../sql/orders.ts";
import type { Row, WhyJson } from "./answers.ts";
import { BEFORE_MARK, beforeCommit, type Hold, RELAY_PART } from "./holds.ts";
import type { LiveProcess, LivePulse } from "./live.ts";
import { counted, duration } from "../words.ts";
import { labelOf, queuesOf } from "./story.ts";

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
  /** When it last went to this consumer: published, retried, redriven, replayed or sent by reconciliation. */
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
           greatest(e.published_at, r.sent_at, l.sent_at, again.at, (
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
    cross join lateral (
      select max(settled_at) as at from replay_events
      where event_id = e.id and consumer = b.consumer and result = 'SENT' and letter_id is null
    ) as again
    left join lateral (
      select json_build_object('id', id, 'reason', reason, 'state', state) as letter, coalesce(resolved_at, last_failed_at) as at
      from dead_letters
      where event_id = e.id and consumer = b.consumer
        and (state = 'OPEN' or state = 'DISCARDED' and resolved_at > greatest(e.published_at, again.at))
        and (not is_malformed or fingerprint = sha256(convert_to(e.payload::text, 'UTF8')))
      order by state = 'OPEN' desc, id desc limit 1
    ) as d on true
    where e.order_id = ${orderId}
      and not exists (select from processed_events p where p.event_id = e.id and p.consumer = b.consumer)
    order by e.id, b.place`;
}

/** `since` where it is another time than that of the facts. */
type Reason = Omit<Row<WhyJson>, "orderId" | "status" | "since"> & { readonly since?: Date };
export type Why = Reason & Pick<WhyJson, "orderId" | "status"> & { readonly since: Date };

const RELAY = "outbox-relay";
/**
 * What was sent this long ago, in milliseconds, to a queue that is empty, is hardly still in its consumer's hands: twice as
 * long as the payment provider may take.
 */
const LOST_MS = 10_000;
/** What waits for this long in the outbox of a relay that beats, in milliseconds, needs a look: it looks every second. */
const OUTBOX_OLD_MS = 10_000;

/** Says why: the first of the causes that holds. Pure. */
export function whyOf(
  order: Pick<OrderRow, "id" | "status" | "updatedAt">,
  copies: readonly OpenCopy[],
  system: SystemFacts,
): Why {
  const { id: orderId, status, updatedAt } = order;
  const about = { orderId, status, since: updatedAt };
  if (isFinal(status)) return { ...about, ...because("final", `Nothing: ${status} is final.`) };
  const queues = queuesOf(system.bindings);
  const nameOf = ({ consumer }: OpenCopy) => labelOf(consumer, queues);
  const copy = awaitedCopy(status, copies, nameOf);
  if (copy) {
    const facts = factsOf(orderId, copy, nameOf(copy).replace(".", "-"), system);
    const reason = CAUSES.map((cause) => cause(facts)).find((reason) => reason !== null);
    if (reason) return { ...about, since: facts.since, ...reason };
  }
  const sentence = `Nothing is on its way that would move it on from ${status}.`;
  return { ...about, ...because("unknown", sentence, "Look for what is broken: deno task audit.") };
}

/**
 * The copy that the order waits for: its own module's one of an event that moves it on; where no such event has happened
 * yet, one of the newest event, which has to bring it about.
 */
function awaitedCopy(
  status: OrderStatus,
  copies: readonly OpenCopy[],
  nameOf: (copy: OpenCopy) => string,
): OpenCopy | undefined {
  const moves = ({ type }: OpenCopy) =>
    ORDER_TRANSITIONS.some(({ from, on }) => from === status && on === type);
  const newest = copies.at(-1)?.eventId;
  return copies.find((copy) => moves(copy) && nameOf(copy).startsWith("orders.")) ??
    copies.find(({ eventId }) => eventId === newest);
}

/** What is known of the copy that the order waits for, and of who has to do something about it. */
type Facts = ReturnType<typeof factsOf>;

/** `process` is that of its consumer. */
function factsOf(orderId: string, copy: OpenCopy, process: string, system: SystemFacts) {
  const { queues, processes } = system.live;
  const { type, consumer, occurredAt, publishedAt, sentAt, dueAt, failedAt, now } = copy;
  const inQueue = queues?.find(({ queue }) => queue === consumer) ?? { messages: 0, consumers: 0 };
  const consumerSilentSince = silenceOf(processes, process);
  const isPutOff = dueAt !== null && dueAt > now; // a delayed retry of it waits for its time
  const since = (dueAt ? failedAt : publishedAt && sentAt) ?? occurredAt; // it waits where it is
  const isTaken = inQueue.consumers > 0 && inQueue.messages === 0 && consumerSilentSince === null;
  const isLost = isTaken && (copy.isKnownLost || now.getTime() - since.getTime() >= LOST_MS);
  const task = dueAt
    ? `send the retry of its ${type} to ${consumer}`
    : publishedAt
    ? `send its ${type} to ${consumer} again`
    : `publish its ${type}`;
  return {
    ...copy,
    ...system,
    orderId,
    since,
    isPutOff,
    /** What the relay is to do about it now; null where nothing. */
    task: isPutOff || publishedAt && !dueAt && !isLost ? null : task,
    process,
    inQueue,
    consumerSilentSince,
  };
}

/** Since when no copy of a process beats any more; null where one does, or there is none. */
function silenceOf(processes: readonly LiveProcess[], process: string): Date | null {
  const copies = processes.filter(({ name }) => name === process);
  if (copies.length === 0 || copies.some(({ isStale }) => !isStale)) return null;
  return new Date(Math.max(...copies.map(({ seenAt }) => Date.parse(seenAt))));
}

/** The causes, the most specific first. Each answers with null where it is another one. */
const CAUSES: readonly ((facts: Facts) => Reason | null)[] = [
  function letter({ orderId, type, consumer, letter, letterAt }) {
    if (!letter || !letterAt) return null;
    const { id: deadLetterId, reason, state } = letter;
    const more = { since: letterAt, deadLetterId };
    if (state === "OPEN") {
      const sentence =
        `${consumer} gave up on its ${type}, for "${reason}": it is dead letter ${deadLetterId}.`;
      const action = `Mend the cause, then send it again: POST /ops/dead-letters/${deadLetterId}/redrive.`;
      return because("dead-letter", sentence, action, more);
    }
    const sentence =
      `Dead letter ${deadLetterId}, its ${type} for ${consumer}, was discarded: nobody sends it again.`;
    const action = `Should it go on after all: deno task replay --order=${orderId}.`;
    return because("discarded", sentence, action, more);
  },
  function held({ type, consumer, publishedAt, dueAt, now, holds }) {
    const parts = publishedAt ? [consumer, beforeCommit(consumer)] : [RELAY_PART, BEFORE_MARK];
    const hold = holds.find(({ part }) => parts.includes(part));
    if (!hold || dueAt) return null;
    const sentence = `Its ${type} is held at ${hold.part}, for ${span(now, hold.untilAt)} more.`;
    const path = `/ops/holds/${hold.part}`;
    const action = `Let one event through: POST ${path}/step; or all: DELETE ${path}.`;
    return because("held", sentence, action, { since: hold.sinceAt, retryAt: hold.untilAt });
  },
  function relaySilent({ task, live: { processes }, now }) {
    const action = `Start a relay: deno task worker:${RELAY}.`;
    if (task === null) return null;
    const isThere = processes.some(({ name }) => name === RELAY);
    if (!isThere) return because("relay-silent", `No relay runs that could ${task}.`, action);
    const since = silenceOf(processes, RELAY);
    if (!since) return null;
    const sentence = `The relay is to ${task}, and has been silent for ${span(since, now)}.`;
    return because("relay-silent", sentence, action, { since });
  },
  function brokerAway({ live: { queues }, isPutOff }) {
    if (queues || isPutOff) return null;
    return because("broker-away", "The broker cannot be reached.", "Bring the broker of AMQP_URL back.");
  },
  function retry({ type, consumer, retries, maxRetries, error, dueAt: retryAt, isPutOff, now }) {
    if (!retryAt) return null;
    const of = maxRetries === undefined ? "" : ` of ${maxRetries}`;
    const which = retries ? `Retry ${retries}${of}` : "The next attempt";
    const when = isPutOff ? `in ${span(now, retryAt)}` : "is due";
    const sentence = `${which} ${when}: ${consumer} could not process its ${type}: ${error}.`;
    return because("retry", sentence, null, { retryAt });
  },
  function refused({ type, eventId, publishedAt, refusal }) {
    if (publishedAt || refusal === null) return null;
    const action = `Read what the broker has against it: GET /ops/outbox/${eventId}.`;
    return because("refused", `The broker refuses its ${type}: ${refusal}.`, action);
  },
  function outbox({ type, publishedAt, since, live, now }) {
    if (publishedAt) return null;
    const others = counted(Math.max(live.outbox.pending - 1, 0), "other event");
    const isOld = now.getTime() - since.getTime() >= OUTBOX_OLD_MS;
    const sentence = `Its ${type} has waited in the outbox for ${span(since, now)}, with ${others}.`;
    return because("outbox", sentence, isOld ? "Have the relay look now: POST /ops/outbox/tick." : null);
  },
  function noConsumer({ type, consumer, process, inQueue }) {
    if (inQueue.consumers > 0) return null;
    const sentence = `Its ${type} waits: no consumer on ${consumer}.`;
    return because("no-consumer", sentence, `Start a consumer: deno task worker:${process}.`);
  },
  function consumerSilent({ type, process, consumerSilentSince: since, now }) {
    if (!since) return null;
    const sentence = `${process} is to process its ${type}, and has been silent for ${span(since, now)}.`;
    return because("consumer-silent", sentence, `Start a consumer: deno task worker:${process}.`, { since });
  },
  function queued({ type, consumer, since, inQueue: { messages }, now }) {
    if (messages === 0) return null;
    const among = counted(messages, "message");
    return because("queue", `Its ${type} has waited in ${consumer} for ${span(since, now)}, among ${among}.`);
  },
  function processing({ task, type, consumer, since, now }) {
    if (task !== null) return null;
    const sentence = `Its ${type} was sent to ${consumer} ${span(since, now)} ago, and is being processed.`;
    return because("processing", sentence);
  },
  function lost({ eventId, type, consumer, since, comparedUntil, isKnownLost, now }) {
    // Up to where reconciliation has compared moves on as the clock does: what it is short of is the time left.
    const leftMs = Math.max(since.getTime() - (comparedUntil ?? since).getTime(), 0);
    const retryAt = comparedUntil && new Date(now.getTime() + leftMs);
    const when = leftMs > 0 && retryAt ? `in about ${span(now, retryAt)}` : "when the relay next compares";
    const isLost = isKnownLost ? "is lost" : "seems lost"; // by then at the latest it is known
    const sent = `Its ${type} was sent to ${consumer} ${span(since, now)} ago`;
    const sentence = `${sent}, ${isLost}, and will be sent again ${when}.`;
    const action = `Not to wait for that: POST /ops/outbox/${eventId}/republish.`;
    return because("lost", sentence, action, retryAt ? { retryAt } : {});
  },
];

function because(
  cause: Reason["cause"],
  sentence: string,
  action: string | null = null,
  more: Pick<Reason, "since" | "deadLetterId" | "retryAt"> = {},
): Reason {
  return { cause, sentence, action, ...more };
}

function span(from: Date, to: Date): string {
  return duration(to.getTime() - from.getTime());
}
