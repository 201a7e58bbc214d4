/**
 * What is checked of a system under load: a client that knows of every order that there is to be, the wait until the system
 * is at rest, and the ledger of both.
 *
 * @module
 */
import { z } from "zod";
import { bindingsOf } from "../../shared/broker/connection.ts";
import { isFinal, type OrderStatus } from "../../shared/order_status.ts";
import { pause } from "../../shared/process/stop.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { rowset, type Sql } from "../../shared/sql/connect.ts";
import { eventually } from "../support/eventually.ts";
import { asMessage, type FaultRecord, sendToQueue, type SentMalformed } from "./faults.ts";
import type { ChaosSystem } from "./system.ts";

/** How an order is meant to go, which its course decides. */
export type Course = keyof typeof RESERVED_COURSES;

const OUTCOME: Readonly<Record<Course, OrderStatus>> = {
  success: "COMPLETED",
  paymentFailure: "PAYMENT_FAILED",
  enrollmentFailure: "REFUNDED",
};

/** Of ten orders eight succeed, one is declined, and one finds no seat. */
function courseOf(n: number): Course {
  return n % 10 === 8 ? "paymentFailure" : n % 10 === 9 ? "enrollmentFailure" : "success";
}

export interface LoadOptions {
  readonly orders: number;
  /** Connections, each with one request at a time. */
  readonly connections: number;
  /** Called after each accepted order with their number so far. */
  readonly onAccepted: (count: number) => void;
  /** Awaited before each order: holds the load back while faults wait for their turn. */
  readonly gate: () => Promise<void>;
  /** Aborted when the run is to end before its time. */
  readonly stop: AbortSignal;
}

/** Of so many orders one has its first answer thrown away, as if it had been lost on the way to the client. */
const LOSE_ANSWER_EVERY = 20;
/** Longer than all outages of a run that fall together. */
const ANSWERED_MS = 120_000;
const [REPEAT_MIN_MS, REPEAT_MAX_MS] = [50, 500];

const answerSchema = z.object({ id: z.string() });

/**
 * Creates orders whatever happens: each request is repeated under its `Idempotency-Key` until it has an answer. Never
 * rejects for what the API does.
 */
export async function keepOrdering(url: string, options: LoadOptions) {
  const { orders, connections, onAccepted, gate, stop } = options;
  const accepted = new Map<string, Course>();
  const repeats: Record<string, number> = {};
  let [next, answeredTwice, unanswered] = [0, 0, 0];
  const startedAt = performance.now();

  /** Orders once, however often it has to ask; answers with the order's id, or null when it has given up. */
  async function order(
    client: Deno.HttpClient,
    course: Course,
    losesAnswer: boolean,
  ): Promise<string | null> {
    const key = crypto.randomUUID();
    const body = JSON.stringify({
      userId: SCENARIO_USER,
      courseId: RESERVED_COURSES[course],
      amount: "49.90",
    });
    const until = performance.now() + ANSWERED_MS;
    for (
      let waitMs = REPEAT_MIN_MS;
      performance.now() < until;
      waitMs = Math.min(waitMs * 2, REPEAT_MAX_MS)
    ) {
      const { status, text } = await post(`${url}/orders`, client, key, body);
      if (status === 201 && !losesAnswer) return answerSchema.parse(JSON.parse(text)).id;
      const why = status === 201 ? "answer lost" : status === 0 ? "no answer" : String(status);
      repeats[why] = (repeats[why] ?? 0) + 1;
      if (status === 201) losesAnswer = false;
      await pause(waitMs, stop);
      if (stop.aborted) return null;
    }
    return null;
  }

  await Promise.all(Array.from({ length: connections }, async () => {
    using client = Deno.createHttpClient({ poolMaxIdlePerHost: 1 });
    while (next < orders) {
      await gate();
      if (next >= orders || stop.aborted) return;
      const course = courseOf(next);
      const id = await order(client, course, next++ % LOSE_ANSWER_EVERY === 0);
      if (id === null) unanswered++;
      else if (accepted.has(id)) answeredTwice++;
      else onAccepted(accepted.set(id, course).size);
    }
  }));
  return {
    /** The id of every order that the client has an answer for, with its course. */
    accepted,
    /** Answers that named an order which another request had been told of already. */
    answeredTwice,
    /** Requests that it gave up on, which is to be 0. */
    unanswered,
    /** Repeats by their reason: a status, `no answer`, or `answer lost`. */
    repeats,
    seconds: (performance.now() - startedAt) / 1000,
  };
}

const ANSWER_MS = 15_000;

/** One request; status 0 for one that the API, or what is left of it, has not answered. */
async function post(url: string, client: Deno.HttpClient, key: string, body: string) {
  const headers = { "content-type": "application/json", "idempotency-key": key };
  const signal = AbortSignal.timeout(ANSWER_MS);
  try {
    const response = await fetch(url, { method: "POST", headers, body, client, signal });
    return { status: response.status, text: await response.text() };
  } catch {
    return { status: 0, text: "" };
  }
}

/**
 * What is left to be done, all 0 when the system is at rest: events that the broker has not confirmed; pairs of an event
 * and one of its consumers, which has neither processed it nor set it aside; malformed messages that are not exactly one
 * dead letter, for the reason that is theirs.
 */
type Unsettled = Readonly<Record<"unpublished" | "unprocessed" | "malformed", number>>;

interface SettleOptions {
  /** How long each of the two waits may take. */
  readonly withinMs: number;
  /** Aborted when there is no point in waiting any more. */
  readonly stop: AbortSignal;
  /** Told every few seconds what is left. */
  readonly say: (line: string) => void;
}

/** Settles a system whose faults are over. */
export async function settle(
  system: ChaosSystem,
  { malformed, wipes }: FaultRecord,
  options: SettleOptions,
) {
  const startedAt = performance.now();
  const wiped = malformed.filter(({ wipesBefore }) => wipesBefore < wipes); // nobody keeps those
  for (const [queue, messages] of Map.groupBy(wiped, ({ queue }) => queue)) {
    await sendToQueue(system.broker.url, queue, messages.map(asMessage));
  }
  let unsettled = await rest(system, malformed, options);
  const redriven = await redriveStrangers(system, malformed);
  if (Object.keys(redriven).length > 0) {
    options.say(`redriven: ${JSON.stringify(redriven)}`);
    unsettled = await rest(system, malformed, options);
  }
  return {
    /** What was still to be done when the time was up. */
    unsettled,
    /** Malformed messages that were sent once more, because the broker was wiped after them. */
    malformedSentAgain: wiped.length,
    /** Dead letters that nobody sent, by reason: each was redriven once, as an operator would. */
    redriven,
    seconds: (performance.now() - startedAt) / 1000,
  };
}

const POLL_MS = 250;
const SAY_EVERY_MS = 5000;

/** Waits until nothing is left to be done; answers with what still is when the time is up. */
async function rest(
  system: ChaosSystem,
  malformed: readonly SentMalformed[],
  { withinMs, stop, say }: SettleOptions,
): Promise<Unsettled> {
  const until = performance.now() + withinMs;
  for (let nextSayAt = performance.now();; await pause(POLL_MS, stop)) {
    const left = await eventually("the database to answer", () => look(system, malformed));
    const isAtRest = Object.values(left).every((count) => count === 0);
    if (isAtRest || performance.now() >= until || stop.aborted) return left;
    if (performance.now() < nextSayAt) continue;
    nextSayAt = performance.now() + SAY_EVERY_MS;
    const counts =
      `${left.unpublished} unpublished, ${left.unprocessed} unprocessed, ${left.malformed} malformed`;
    say(`waiting for rest: ${counts} to set aside`);
  }
}

/**
 * One snapshot of the database tells it all: what an event brings about is appended in the transaction that processes
 * it, so where all is published and processed, nothing is under way.
 */
async function look(
  { database, broker }: ChaosSystem,
  malformed: readonly SentMalformed[],
): Promise<Unsettled> {
  const bindings = rowset(bindingsOf(broker.topology));
  const [row] = await database.db.sql<Unsettled[]>`
    select (select count(*)::int from outbox_events where published_at is null) as unpublished,
           (select count(*)::int
            from outbox_events e
            join jsonb_to_recordset(${bindings}::text::jsonb) as b (consumer text, type text) using (type)
            where not exists (select from processed_events p where p.event_id = e.id and p.consumer = b.consumer)
              and not exists (
                select from dead_letters d
                where d.event_id = e.id and d.consumer = b.consumer and d.state <> 'REDRIVEN')) as unprocessed,
           (select count(*)::int
            from jsonb_to_recordset(${
    asRows(malformed)
  }::text::jsonb) as m (consumer text, reason text, body text)
            where (select count(*) = 1 and max(d.reason) = m.reason
                   from dead_letters d
                   where d.consumer = m.consumer and d.fingerprint = sha256(decode(m.body, 'base64')))
                  is not true) as malformed`;
  if (!row) throw new Error("Cannot count what is left to be done: the database answered with no row");
  return row;
}

/** The messages as rows for SQL. */
function asRows(malformed: readonly SentMalformed[]): string {
  return rowset(malformed.map(({ queue, reason, body }) => {
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    return { consumer: queue, reason, body: bytes.toBase64() };
  }));
}

/** Redrives every open dead letter that is not the run's own. Answers with how many, by consumer and reason. */
async function redriveStrangers(
  { database, stack }: ChaosSystem,
  malformed: readonly SentMalformed[],
): Promise<Record<string, number>> {
  const strangers = await database.db.sql<{ id: string; consumer: string; reason: string }[]>`
    select id, consumer, reason from dead_letters d
    where state = 'OPEN' and not exists (
      select from jsonb_to_recordset(${asRows(malformed)}::text::jsonb) as m (consumer text, body text)
      where m.consumer = d.consumer and sha256(decode(m.body, 'base64')) = d.fingerprint)`;
  for (const { id } of strangers) {
    await eventually(`the API to redrive the dead letter ${id}`, async () => {
      const response = await fetch(`${stack.url}/ops/dead-letters/${id}/redrive`, { method: "POST" });
      const text = await response.text();
      if (!response.ok) throw new Error(`${response.status}: ${text}`);
      return redrivenSchema.parse(JSON.parse(text)).refused.length === 0;
    });
  }
  const plainName = (consumer: string) => consumer.replace(/^test\.\w+\./, ""); // without what makes it the run's own
  return countBy(strangers, ({ consumer, reason }) => `${plainName(consumer)}: ${reason}`);
}

const redrivenSchema = z.object({ refused: z.array(z.unknown()) });

/** How many there are of each, by what `keyOf` makes of them. */
export function countBy<T>(items: Iterable<T>, keyOf: (item: T) => string): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(items, keyOf)].map(([key, { length }]) => [key, length]));
}

/** What the tables have, as far as the ledger asks for it. */
export async function readBooks(sql: Sql) {
  const orders = await sql<{ id: string; status: OrderStatus }[]>`select id, status from orders`;
  const [beyondOne] = await sql<Record<string, number>[]>`
    select (select count(*) - count(distinct order_id) from payments)::int as payments,
           (select count(*) - count(distinct order_id) from enrollments)::int as enrollments,
           (select count(*) - count(distinct order_id) from notifications)::int as notifications,
           (select count(*) - count(distinct (order_id, type)) from outbox_events)::int as events`;
  return {
    /** The status of every order, by its id. */
    orders: new Map(orders.map(({ id, status }) => [id, status])),
    /** Rows beyond one for each order, by table; of the outbox, beyond one of each type. */
    beyondOne: { ...beyondOne },
  };
}

/** The ledger: what the client knows of, against what the tables have. All of the last four are to be 0. Pure. */
export function balance(
  { accepted, answeredTwice }: Pick<Awaited<ReturnType<typeof keepOrdering>>, "accepted" | "answeredTwice">,
  { orders, beyondOne }: Awaited<ReturnType<typeof readBooks>>,
  unsettled: Partial<Unsettled> = {},
) {
  const statuses = [...orders.values()];
  const sum = (counts: object) =>
    Object.values(counts).reduce((total: number, count: number) => total + count, 0);
  const isWrong = ([id, course]: readonly [string, Course]) => {
    const status = orders.get(id);
    return status !== undefined && isFinal(status) && status !== OUTCOME[course];
  };
  return {
    accepted: accepted.size,
    /** By status. */
    orders: countBy(statuses, (status) => status),
    /** Accepted orders that are not there, and events or messages that have not arrived where they belong. */
    lost: [...accepted.keys()].filter((id) => !orders.has(id)).length + sum(unsettled),
    /** Orders that nobody has been told of, orders that two were told of, and rows beyond one. */
    duplicated: [...orders.keys()].filter((id) => !accepted.has(id)).length + answeredTwice + sum(beyondOne),
    /** Orders that are not in a final status. */
    stuck: statuses.filter((status) => !isFinal(status)).length,
    /** Orders that ended otherwise than their course says. */
    wrong: [...accepted].filter(isWrong).length,
  };
}
