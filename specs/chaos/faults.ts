// The kinds of fault: whom each can strike, and what it does then.

import { setTimeout as delay } from "node:timers/promises";
import { connect } from "amqplib";
import fc from "fast-check";
import { v7 as uuidv7 } from "uuid";
import { bindingsOf } from "../../shared/broker/connection.ts";
import { createPublisher, type OutgoingMessage, toQueue } from "../../shared/broker/publish.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import { transaction, uuids } from "../../shared/sql/connect.ts";
import { type ClaimedEvent, readEventsForPublishing } from "../../shared/sql/outbox.ts";
import { API, CONSUMERS, RELAY } from "../../workers/dev/processes.ts";
import { badBody } from "../support/bad_messages.ts";
import { eventually } from "../support/eventually.ts";
import { clockFlag } from "../support/test_clock.ts";
import type { Fault } from "./schedule.ts";
import { type ChaosSystem, cutOff, MAX_MESSAGE_BYTES } from "./system.ts";

/** What the faults leave behind for the ledger. */
export interface FaultRecord {
  wipes: number;
  /** Events that were sent again, in one way or another. */
  resent: number;
  /**
   * Messages that no consumer can ever process: each becomes a dead letter of the queue that it was sent to, but where a
   * wipe has come after those that were over when it was sent.
   */
  readonly malformed: { readonly body: Uint8Array; readonly queue: string; readonly wipesBefore: number }[];
}

/** As the supervisor: the pause before it starts what has ended, in milliseconds. */
const RESTART_DELAY_MS = 200;
/** A fault that itself meets the outage of another one is tried again for so long: longer than any fault lasts. */
const GIVE_UP_MS = 60_000;

export interface KindOfFault {
  readonly what: string;
  /** Whom it can strike: processes, `database`, `broker`, `events`, or `rows`. */
  readonly targets: readonly string[];
  /** From and to, in milliseconds: long enough to hurt, short enough to leave time for the next one. */
  readonly lastsMs?: readonly [number, number];
  readonly messages?: readonly [number, number];
  /** Lets it strike; resolves when it is over, which is not to say that the system has recovered. */
  readonly inject: (fault: Fault, system: ChaosSystem, record: FaultRecord) => Promise<void>;
}

const consumers = CONSUMERS.map(({ name }) => name);
const services = ["database", "broker"];

/** Far more than any wait, and less than everything is kept: beyond that a process does not start. */
const HOURS_OFF = [1, -1, 300, -300];

export const FAULT_KINDS = {
  kill: {
    what: "SIGKILL of a process, which is started again",
    targets: [API.name, RELAY.name, ...consumers],
    async inject({ target }, { stack }) {
      await stack.kill(target);
      await delay(RESTART_DELAY_MS);
      stack.start(target);
    },
  },
  copy: {
    what: "a second copy of a process for a while, then SIGKILL of it",
    targets: [RELAY.name, ...consumers],
    lastsMs: [1000, 3000],
    async inject({ target, lastsMs }, { stack }) {
      const copy = stack.startCopy(target);
      await delay(lastsMs);
      await copy.end("SIGKILL");
    },
  },
  hold: {
    what: "a consumer is stopped for a while, so that other queues' events come early",
    targets: consumers,
    lastsMs: [300, 1500],
    async inject({ target, lastsMs }, { stack }) {
      await stack.stop(target);
      await delay(lastsMs);
      stack.start(target);
    },
  },
  skew: {
    what: "the clock of a process is an hour or twelve days off for a while",
    targets: [API.name, RELAY.name, ...consumers],
    lastsMs: [3000, 6000], // starting is a part of it
    async inject({ target, lastsMs, seed }, { stack }) {
      await stack.stop(target);
      stack.start(target, [clockFlag(HOURS_OFF[seed % HOURS_OFF.length] ?? 1)]);
      await delay(lastsMs);
      await stack.kill(target);
      stack.start(target);
    },
  },
  cut: {
    what: "nobody reaches a service for a while",
    targets: services,
    lastsMs: [200, 1500],
    inject: (fault, system) => cutOff(wireOf(fault, system), fault.lastsMs),
  },
  blip: {
    what: "all connections to a service break at once",
    targets: services,
    inject: (fault, system) => Promise.resolve(wireOf(fault, system).breakConnections()),
  },
  wipe: {
    what: "the broker loses its queues and all that is in them",
    targets: ["broker"],
    async inject(_, { broker }, record) {
      await eventually("the broker to be wiped", () => broker.wipe().then(() => true), GIVE_UP_MS);
      record.wipes++; // afterwards: what was sent meanwhile may be gone as well
    },
  },
  restart: {
    what: "a service crashes and comes back",
    targets: services,
    lastsMs: [300, 1500],
    async inject(fault, system, record) {
      const service = fault.target === "database" ? system.database : system.broker;
      await service.restart(wireOf(fault, system), fault.lastsMs);
      if (service === system.broker && system.broker.isInMemory) record.wipes++;
    },
  },
  silence: {
    what: "all connections to a service carry nothing any more, as if its host had died; new ones do",
    targets: services,
    inject: (fault, system) => Promise.resolve(wireOf(fault, system).silence()),
  },
  refuse: {
    what: "the database lets nobody in for a while, and all are thrown out",
    ...altered("allow_connections false", "allow_connections true"),
  },
  "read-only": {
    what: "the database takes no writes for a while, as a standby after a failover",
    ...altered("set default_transaction_read_only = on", "reset default_transaction_read_only"),
  },
  lock: {
    what: "somebody holds rows of orders and payments for a while",
    targets: ["rows"],
    lastsMs: [1000, 5000],
    messages: [5, 50],
    async inject({ lastsMs, messages }, { database }) {
      await eventually("rows to be held", async () => {
        await transaction(database.db.sql, async (tx) => {
          await tx`
            with under_way as (
              select id from orders where status not in ('COMPLETED', 'PAYMENT_FAILED', 'REFUNDED') limit ${messages} for update
            )
            select from payments where order_id in (select id from under_way) for update`;
          await delay(lastsMs);
        });
        return true;
      }, GIVE_UP_MS);
    },
  },
  duplicate: {
    what: "events are published again",
    targets: ["events"],
    messages: [20, 200],
    /** As `POST /ops/outbox/:id/republish` has it done with one event. */
    async inject(fault, system, record) {
      await eventually("events to be published again", async () => {
        const ids = uuids((await sampleOf(system, fault)).map(({ id }) => id));
        const { count } = await system.database.db.sql`
          update outbox_events set published_at = null
          where id = any(${ids}::text::uuid[]) and published_at is not null`;
        record.resent += count;
        return count;
      }, GIVE_UP_MS);
    },
  },
  reverse: {
    what: "events are sent to their consumers once more, the newest first",
    targets: ["events"],
    messages: [20, 200],
    /** Straight to the queues: repeats, and some that come before their cause. */
    async inject(fault, system, record) {
      const events = (await sampleOf(system, fault)).toSorted((a, b) => (a.id < b.id ? 1 : -1));
      const { topology, url } = system.broker;
      const queues = Map.groupBy(bindingsOf(topology), ({ consumer }) => consumer);
      await Promise.all([...queues].map(async ([queue, bindings]) => {
        const heard = events.filter(({ type }) => bindings.some((binding) => binding.type === type));
        if (heard.length > 0) await sendToQueue(url, queue, heard);
        record.resent += heard.length;
      }));
    },
  },
  malform: {
    what: "messages that can never be processed",
    targets: consumers,
    messages: [5, 15],
    async inject({ target, messages, seed }, { broker }, record) {
      const { name: queue, bindings } = queueOf(target, broker);
      const made = fc.sample(badBody(bindings), { seed, numRuns: messages })
        .map((body) => ({ body, queue, wipesBefore: record.wipes }));
      record.malformed.push(...made);
      await sendToQueue(broker.url, queue, made);
    },
  },
  large: {
    what: "an event again in a message as large as one may be, and in one that is a byte larger",
    targets: consumers,
    messages: [200, 500],
    async inject(fault, system, record) {
      const { name: queue, bindings } = queueOf(fault.target, system.broker);
      const event = await eventually(`an event for ${queue}`, async () => {
        const events = await sampleOf(system, fault);
        return events.find(({ type }) => bindings.some((bound) => bound === type));
      }, GIVE_UP_MS);
      const refused = { body: padded(event, MAX_MESSAGE_BYTES + 1), queue, wipesBefore: record.wipes };
      record.malformed.push(refused);
      record.resent++;
      const fits = { ...event, body: padded(event, MAX_MESSAGE_BYTES) };
      await sendToQueue(system.broker.url, queue, [fits, refused]);
    },
  },
} satisfies Readonly<Record<string, KindOfFault>>;

export type FaultKind = keyof typeof FAULT_KINDS;

/** The database is altered so that nobody can go on, all are thrown out, and after a while it is altered back. */
function altered(to: string, back: string): Omit<KindOfFault, "what"> {
  return {
    targets: ["database"],
    lastsMs: [300, 4000],
    async inject({ lastsMs }, { stack, database }) {
      await database.alter(to);
      stack.wires.database.breakConnections();
      await delay(lastsMs);
      await database.alter(back);
    },
  };
}

/** An event's body with so much space behind it that it has `bytes`: the same event, for who reads it. */
function padded({ body }: ClaimedEvent, bytes: number): Uint8Array {
  const large = new Uint8Array(bytes).fill(0x20);
  new TextEncoder().encodeInto(body, large);
  return large;
}

function queueOf(target: string, { topology }: ChaosSystem["broker"]) {
  const key = CONSUMERS.find(({ name }) => name === target)?.queue;
  if (!key) throw new Error(`There is no consumer ${target}`);
  return topology.queues[key];
}

const wireOf = ({ target }: Fault, { stack: { wires } }: ChaosSystem) =>
  target === "database" ? wires.database : wires.broker;

/** Samples are taken of so many of the newest events: some are under way, others long done. */
const RECENT_EVENTS = 2000;

/**
 * A random sample of what was published last, as it is published, chosen by the ids; those of a process whose clock is
 * wrong are not in order.
 */
async function sampleOf({ database: { db: { sql } } }: ChaosSystem, { messages, seed }: Fault) {
  return await eventually("a sample of events", async () => {
    const rows = await sql<{ id: string }[]>`
      select id from (
        select id from outbox_events where published_at is not null order by published_at desc limit ${RECENT_EVENTS}
      ) as recent
      order by md5(id::text || ${String(seed)}) limit ${messages}`;
    const events = await readEventsForPublishing(sql, rows.map(({ id }) => id));
    return events.length > 0 && events;
  }, GIVE_UP_MS);
}

const ANSWER_MS = 5000;
const CLOSE_MS = 1000;

/** A message whose properties tell nothing. */
const BARE = { type: null, correlationId: null, traceparent: null, occurredAt: null };

/**
 * Sends messages straight to a queue, past the outbox and the exchange, as nothing in the system does, until the broker
 * has confirmed every one; what has no answer is sent again, and may arrive twice.
 *
 * Errors: when the broker has not taken all of them within a minute.
 */
export async function sendToQueue(
  url: string,
  queue: string,
  messages: readonly (Partial<OutgoingMessage> & Pick<OutgoingMessage, "body">)[],
): Promise<void> {
  let left = messages.map((message): OutgoingMessage => ({ ...BARE, id: uuidv7(), ...message }));
  await eventually(`${queue} to take ${messages.length} messages`, async () => {
    const connection = await connect(url, { noDelay: true, timeout: ANSWER_MS });
    connection.on("error", () => {}); // it may be wiped in the middle: the publisher has no answer then
    try {
      const channel = await connection.createConfirmChannel();
      channel.on("error", () => {});
      const { confirmed } = await createPublisher(channel).publish(left, toQueue(queue), ANSWER_MS);
      left = left.filter(({ id }) => !confirmed.includes(id));
    } finally {
      // A broker that is killed in the middle of a close leaves the client waiting for its answer without end.
      await withTimeout(CLOSE_MS, connection.close().catch(() => {}));
    }
    return left.length === 0;
  }, GIVE_UP_MS);
}
