/**
 * The end of a chaos run: waits until the system is at rest, and does what an operator would do about dead letters.
 *
 * @module
 */
import { z } from "zod";
import { bindingsOf } from "../../shared/broker/connection.ts";
import { QUEUE_KEYS, QUEUES } from "../../shared/topology.ts";
import { rowset } from "../../shared/sql/connect.ts";
import { pause } from "../../shared/process/stop.ts";
import { eventually } from "../support/eventually.ts";
import { asMessage, type FaultRecord, type SentMalformed } from "./inject.ts";
import { sendToQueue } from "./send_to_queue.ts";
import type { ChaosSystem } from "./system.ts";

/** What is left to be done, all 0 when the system is at rest. */
export interface Unsettled {
  /** Events that the broker has not confirmed. */
  readonly unpublished: number;
  /** Pairs of an event and one of its consumers, which has neither processed it nor put it aside. */
  readonly unprocessed: number;
  /** Malformed messages that have not become a dead letter. */
  readonly malformed: number;
}

/** How it ended. */
export interface Settlement {
  /** What was still to be done when the time was up. */
  readonly unsettled: Unsettled;
  /** Malformed messages that were sent once more, because the broker was wiped after them. */
  readonly malformedSentAgain: number;
  /** Dead letters that nobody sent: each was redriven once. By reason. */
  readonly redriven: Readonly<Record<string, number>>;
  /** How long all of that took, in seconds. */
  readonly seconds: number;
}

const POLL_MS = 250;
const SAY_EVERY_MS = 5000;

/** How to wait. */
export interface SettleOptions {
  /** How long each of the two waits may take, in milliseconds. */
  readonly withinMs: number;
  /** Aborted when there is no point in waiting any more. */
  readonly stop: AbortSignal;
  /** Told every few seconds what is left. */
  readonly say: (line: string) => void;
}

/**
 * Settles a system whose faults are over.
 *
 * What the run itself has sent is discarded once it is a dead letter; every other one is redriven, all in one request.
 */
export async function settle(
  system: ChaosSystem,
  { malformed, wipes }: FaultRecord,
  options: SettleOptions,
): Promise<Settlement> {
  const startedAt = performance.now();
  const excused = (await missing(system, malformed)).filter(({ wipesBefore }) => wipesBefore < wipes);
  for (const [queue, messages] of Map.groupBy(excused, ({ queue }) => queue)) {
    await sendToQueue(system.broker.url, queue, messages.map(({ body }) => asMessage(body)));
  }
  let unsettled = await rest(system, malformed, options);
  const redriven = await redriveStrangers(system, malformed);
  if (Object.keys(redriven).length > 0) {
    options.say(`redriven: ${JSON.stringify(redriven)}`);
    unsettled = await rest(system, malformed, options);
  }
  return {
    unsettled,
    malformedSentAgain: excused.length,
    redriven,
    seconds: (performance.now() - startedAt) / 1000,
  };
}

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
    const { unpublished, unprocessed, malformed: aside } = left;
    say(
      `waiting for rest: ${unpublished} unpublished, ${unprocessed} unprocessed, ${aside} malformed to put aside`,
    );
  }
}

/**
 * One snapshot of the database tells it all: what an event brings about is appended in the transaction that processes
 * it, so where all is published and processed, nothing is under way.
 */
async function look(system: ChaosSystem, malformed: readonly SentMalformed[]): Promise<Unsettled> {
  const { sql } = system.database.db;
  const [row] = await sql<{ unpublished: number; unprocessed: number }[]>`
    select (select count(*)::int from outbox_events where published_at is null) as unpublished, count(*)::int as unprocessed
    from outbox_events e
    join jsonb_to_recordset(${
    rowset(bindingsOf(system.broker.topology))
  }::text::jsonb) as b (consumer text, type text) using (type)
    where not exists (select from processed_events p where p.event_id = e.id and p.consumer = b.consumer)
      and not exists (
        select from dead_letters d
        where d.event_id = e.id and d.consumer = b.consumer and d.state <> 'REDRIVEN')`;
  if (!row) throw new Error("Cannot count what is left to be done: the database answered with no row");
  return { ...row, malformed: (await missing(system, malformed)).length };
}

interface Letter {
  readonly id: string;
  readonly consumer: string;
  readonly reason: string;
  readonly state: string;
  readonly fingerprint: string;
}

/** Dead letters by what they are known by: their consumer and the SHA-256 of their body. */
async function readLetters({ database }: ChaosSystem): Promise<Map<string, Letter[]>> {
  const letters = await database.db.sql<Letter[]>`
    select id, consumer, reason, state, encode(fingerprint, 'hex') as fingerprint from dead_letters order by id`;
  return Map.groupBy(letters, ({ consumer, fingerprint }) => `${consumer} ${fingerprint}`);
}

async function keyOf({ queue, body }: SentMalformed): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", Uint8Array.from(body));
  return `${queue} ${new Uint8Array(hash).toHex()}`;
}

/** The malformed messages that are not exactly one dead letter, for the reason that is theirs. */
export async function missing(
  system: ChaosSystem,
  malformed: readonly SentMalformed[],
): Promise<SentMalformed[]> {
  const letters = await readLetters(system);
  const found = await Promise.all(malformed.map(async (message) => {
    const mine = letters.get(await keyOf(message)) ?? [];
    return mine.length === 1 && mine[0]?.reason === message.reason;
  }));
  return malformed.filter((_, i) => !found[i]);
}

const redriveAnswer = z.object({ redriven: z.number(), refused: z.array(z.unknown()) });

/** Discards the run's own letters, then redrives all that are open. Answers with how many, by reason. */
async function redriveStrangers(
  system: ChaosSystem,
  malformed: readonly SentMalformed[],
): Promise<Record<string, number>> {
  const own = new Set(await Promise.all(malformed.map(keyOf)));
  const letters = [...await readLetters(system)].flatMap(([key, letters]) => {
    return letters.map((letter) => ({ ...letter, isOwn: own.has(key) })).filter(({ state }) =>
      state === "OPEN"
    );
  });
  const strangers = letters.filter(({ isOwn }) => !isOwn);
  if (strangers.length === 0) return {};
  for (const { id } of letters.filter(({ isOwn }) => isOwn)) {
    await ask(system, `${id}/discard`, { because: "the run has sent it" });
  }
  const { refused } = redriveAnswer.parse(await ask(system, "redrive", {}));
  if (refused.length > 0) {
    throw new Error(`Cannot redrive ${refused.length} dead letters: the broker refused them`);
  }
  const plainName = (consumer: string) => {
    const key = QUEUE_KEYS.find((key) => system.broker.topology.queues[key].name === consumer);
    return key ? QUEUES[key].name : consumer;
  };
  const byReason = Map.groupBy(strangers, ({ consumer, reason }) => `${plainName(consumer)}: ${reason}`);
  return Object.fromEntries([...byReason].map(([reason, { length }]) => [reason, length]));
}

/** Asks for an action on dead letters, until the API has an answer. */
async function ask({ stack }: ChaosSystem, action: string, body: object): Promise<unknown> {
  return await eventually(`the API to ${action} dead letters`, async () => {
    const response = await fetch(`${stack.url}/ops/dead-letters/${action}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${response.status}: ${text}`);
    return JSON.parse(text);
  });
}
