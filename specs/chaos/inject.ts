/**
 * The faults: one function for each kind. Each resolves when the fault is over, which is not to say that the system has
 * recovered.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { v7 as uuidv7 } from "uuid";
import type { OutgoingMessage } from "../../shared/broker/publish.ts";
import { bindingsOf } from "../../shared/broker/connection.ts";
import { uuids } from "../../shared/sql/connect.ts";
import { readEventsForPublishing } from "../../shared/sql/outbox.ts";
import { CONSUMERS } from "../../workers/dev/processes.ts";
import type { CutProxy } from "../support/cut_proxy.ts";
import { eventually } from "../support/eventually.ts";
import { type MalformedMessage, malformedMessages } from "./malformed.ts";
import type { Fault, FaultKind } from "./schedule.ts";
import { sendToQueue } from "./send_to_queue.ts";
import type { ChaosSystem } from "./system.ts";

/** A malformed message that was sent. */
export interface SentMalformed extends MalformedMessage {
  /** The queue that it was sent to, which is its consumer's name. */
  readonly queue: string;
  /** How many wipes of the broker were over before it was sent: by a later one it may be lost. */
  readonly wipesBefore: number;
}

/** What the faults leave behind for the ledger. */
export interface FaultRecord {
  /** How many wipes of the broker are over. */
  wipes: number;
  /** Every malformed message, in the order in which they were sent. */
  readonly malformed: SentMalformed[];
  /** How many events were sent again, in one way or another. */
  resent: number;
}

/** As the supervisor: the pause before it starts what has ended, in milliseconds. */
const RESTART_DELAY_MS = 200;
/** Samples are taken of so many of the newest events: some are under way, others long done. */
const RECENT_EVENTS = 2000;
/** A fault that itself meets the outage of another one is tried again for so long. */
const GIVE_UP_MS = 60_000;

/** Lets a fault of one kind strike; resolves when it is over. */
export type Inject = (fault: Fault, system: ChaosSystem, record: FaultRecord) => Promise<void>;

/** What each kind of fault does. */
export const INJECTORS: Readonly<Record<FaultKind, Inject>> = {
  kill: async ({ target }, { stack }) => {
    await stack.kill(target);
    await delay(RESTART_DELAY_MS);
    stack.start(target);
  },
  copy: async ({ target, lastsMs }, { stack }) => {
    const copy = stack.startCopy(target);
    await delay(lastsMs);
    await copy.end("SIGKILL");
  },
  hold: async ({ target, lastsMs }, { stack }) => {
    await stack.stop(target);
    await delay(lastsMs);
    stack.start(target);
  },
  cut: async (fault, system) => {
    const wire = wireOf(fault, system);
    wire.cut();
    await delay(fault.lastsMs);
    wire.restore();
  },
  blip: (fault, system) => Promise.resolve(wireOf(fault, system).breakConnections()),
  wipe: async (_, { broker }, record) => {
    await eventually("the broker to be wiped", () => broker.wipe().then(() => true), GIVE_UP_MS);
    record.wipes++; // afterwards: what was sent meanwhile may be gone as well
  },
  restart: ({ lastsMs }, { stack, database }) => database.restart(stack.wires.database, lastsMs),
  duplicate: publishAgain,
  reverse: sendInReverse,
  malform: sendMalformed,
};

/** What no two faults may touch at once; others may strike at the same time. */
export function resourceOf({ kind, target }: Fault): string {
  if (kind === "wipe") return "broker";
  if (kind === "restart") return "database";
  return kind === "copy" || kind === "malform" ? `${kind} ${target}` : target;
}

function wireOf({ target }: Fault, { stack }: ChaosSystem): CutProxy {
  return target === "database" ? stack.wires.database : stack.wires.broker;
}

/** A random sample of the newest events, by their ids. */
async function sample({ database }: ChaosSystem, { messages, seed }: Fault): Promise<string[]> {
  const rows = await database.db.sql<{ id: string }[]>`
    select id from (select id from outbox_events order by id desc limit ${RECENT_EVENTS}) as recent
    order by md5(id::text || ${String(seed)}) limit ${messages}`;
  return rows.map(({ id }) => id);
}

/** The relay is made to publish a sample again, as `POST /ops/outbox/:id/republish` does with one event. */
async function publishAgain(fault: Fault, system: ChaosSystem, record: FaultRecord): Promise<void> {
  const { sql } = system.database.db;
  await eventually("events to be published again", async () => {
    const ids = await sample(system, fault);
    const { count } = await sql`
      update outbox_events set published_at = null where id = any(${
      uuids(ids)
    }::text::uuid[]) and published_at is not null`;
    record.resent += count;
    return true;
  }, GIVE_UP_MS);
}

/** A sample goes straight to the queues, the newest event first: repeats, and some that come before their cause. */
async function sendInReverse(fault: Fault, system: ChaosSystem, record: FaultRecord): Promise<void> {
  const events = await eventually("a sample of events", async () => {
    const found = await readEventsForPublishing(system.database.db.sql, await sample(system, fault));
    return found.toSorted((a, b) => (a.id < b.id ? 1 : -1));
  }, GIVE_UP_MS);
  const { topology, url } = system.broker;
  const queues = Map.groupBy(bindingsOf(topology), ({ consumer }) => consumer);
  await Promise.all([...queues].map(async ([queue, bindings]) => {
    const heard = events.filter(({ type }) => bindings.some((binding) => binding.type === type));
    if (heard.length > 0) await sendToQueue(url, queue, heard);
    record.resent += heard.length;
  }));
}

async function sendMalformed(
  { target, messages }: Fault,
  { broker, database }: ChaosSystem,
  record: FaultRecord,
): Promise<void> {
  const key = CONSUMERS.find(({ name }) => name === target)?.queue;
  if (!key) throw new Error(`There is no consumer ${target}`);
  const queue = broker.topology.queues[key].name;
  const { sql } = database.db;
  const orders = await eventually("finished orders", async () => {
    const [row] = await sql<{ completed: string | null; declined: string | null }[]>`
      select (select id from orders where status = 'COMPLETED' limit 1) as completed,
             (select id from orders where status = 'PAYMENT_FAILED' limit 1) as declined`;
    return row;
  }, GIVE_UP_MS);
  const made = malformedMessages(key, messages, orders);
  const wipesBefore = record.wipes;
  record.malformed.push(...made.map((message) => ({ ...message, queue, wipesBefore })));
  await sendToQueue(broker.url, queue, made.map(({ body }) => asMessage(body)));
}

/** A malformed body as a message, whose properties tell nothing. */
export function asMessage(body: Uint8Array): OutgoingMessage {
  return { id: uuidv7(), type: null, correlationId: null, traceparent: null, occurredAt: null, body };
}
