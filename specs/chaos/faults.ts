/**
 * The kinds of fault: whom each can strike, and what it does then; and the schedule of a run, which the seed determines.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "amqplib";
import fc from "fast-check";
import { v7 as uuidv7 } from "uuid";
import { bindingsOf } from "../../shared/broker/connection.ts";
import { createPublisher, type OutgoingMessage, toQueue } from "../../shared/broker/publish.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import { transaction, uuids } from "../../shared/sql/connect.ts";
import { readEventsForPublishing } from "../../shared/sql/outbox.ts";
import { API, CONSUMERS, RELAY } from "../../workers/dev/processes.ts";
import { badBody } from "../support/bad_messages.ts";
import { eventually } from "../support/eventually.ts";
import type { ChaosSystem } from "./system.ts";

/** What the faults leave behind for the ledger. */
export interface FaultRecord {
  /** How many wipes of the broker are over. */
  wipes: number;
  /** How many events were sent again, in one way or another. */
  resent: number;
  readonly malformed: SentMalformed[];
}

/** A message that no consumer can ever process. */
export interface SentMalformed {
  readonly body: Uint8Array;
  /** The queue that it was sent to, which is its consumer's name. */
  readonly queue: string;
  /** How many wipes of the broker were over before it was sent: by a later one it may be lost. */
  readonly wipesBefore: number;
}

/** As the supervisor: the pause before it starts what has ended, in milliseconds. */
const RESTART_DELAY_MS = 200;
/** A fault that itself meets the outage of another one is tried again for so long: longer than any fault lasts. */
const GIVE_UP_MS = 60_000;

interface KindOfFault {
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

export type FaultKind =
  | "kill"
  | "copy"
  | "hold"
  | "cut"
  | "blip"
  | "wipe"
  | "restart"
  | "silence"
  | "refuse"
  | "read-only"
  | "lock"
  | "duplicate"
  | "reverse"
  | "malform";

export const FAULT_KINDS: Readonly<Record<FaultKind, KindOfFault>> = {
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
  cut: {
    what: "nobody reaches a service for a while",
    targets: services,
    lastsMs: [200, 1500],
    async inject(fault, system) {
      const wire = wireOf(fault, system);
      wire.cut();
      await delay(fault.lastsMs);
      wire.restore();
    },
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
    what: "the database crashes and comes back",
    targets: ["database"],
    lastsMs: [300, 1500],
    inject: ({ lastsMs }, { stack, database }) => database.restart(stack.wires.database, lastsMs),
  },
  silence: {
    what: "all connections to a service carry nothing any more, as if its host had died; new ones do",
    targets: services,
    inject: (fault, system) => Promise.resolve(wireOf(fault, system).silence()),
  },
  refuse: {
    what: "the database lets nobody in for a while, and all are thrown out",
    targets: ["database"],
    lastsMs: [300, 4000],
    async inject({ lastsMs }, { stack, database }) {
      await database.alter("allow_connections false");
      stack.wires.database.breakConnections();
      await delay(lastsMs);
      await database.alter("allow_connections true");
    },
  },
  "read-only": {
    what: "the database takes no writes for a while, as a standby after a failover",
    targets: ["database"],
    lastsMs: [300, 4000],
    async inject({ lastsMs }, { stack, database }) {
      await database.alter("set default_transaction_read_only = on");
      stack.wires.database.breakConnections();
      await delay(lastsMs);
      await database.alter("reset default_transaction_read_only");
    },
  },
  lock: {
    what: "somebody holds rows of orders and payments for a while",
    targets: ["rows"],
    lastsMs: [1000, 5000],
    messages: [5, 50],
    async inject({ lastsMs, messages }, { database }) {
      await eventually("rows to be held", async () => {
        await transaction(database.db.sql, async (tx) => {
          await tx`select from orders where id in (select id from orders order by id desc limit ${messages}) for update`;
          await tx`
            select from payments where id in (select id from payments order by id desc limit ${messages}) for update`;
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
        const { count } = await system.database.db.sql`
          update outbox_events set published_at = null
          where id = any(${uuids(await sample(system, fault))}::text::uuid[]) and published_at is not null`;
        record.resent += count;
        return true;
      }, GIVE_UP_MS);
    },
  },
  reverse: {
    what: "events are sent to their consumers once more, the newest first",
    targets: ["events"],
    messages: [20, 200],
    /** Straight to the queues: repeats, and some that come before their cause. */
    async inject(fault, system, record) {
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
    },
  },
  malform: {
    what: "messages that can never be processed",
    targets: consumers,
    messages: [5, 15],
    async inject({ target, messages, seed }, { broker }, record) {
      const key = CONSUMERS.find(({ name }) => name === target)?.queue;
      if (!key) throw new Error(`There is no consumer ${target}`);
      const { name: queue, bindings } = broker.topology.queues[key];
      const made = fc.sample(badBody(bindings), { seed, numRuns: messages })
        .map((body) => ({ body, queue, wipesBefore: record.wipes }));
      record.malformed.push(...made);
      await sendToQueue(broker.url, queue, made.map(asMessage));
    },
  },
};

function wireOf({ target }: Fault, { stack }: ChaosSystem) {
  return target === "database" ? stack.wires.database : stack.wires.broker;
}

/** Samples are taken of so many of the newest events: some are under way, others long done. */
const RECENT_EVENTS = 2000;

/** A random sample of the newest events, by their ids. */
async function sample({ database }: ChaosSystem, { messages, seed }: Fault): Promise<string[]> {
  const rows = await database.db.sql<{ id: string }[]>`
    select id from (select id from outbox_events order by id desc limit ${RECENT_EVENTS}) as recent
    order by md5(id::text || ${String(seed)}) limit ${messages}`;
  return rows.map(({ id }) => id);
}

/** A malformed body as a message, whose properties tell nothing. */
export function asMessage({ body }: SentMalformed): OutgoingMessage {
  return { id: uuidv7(), type: null, correlationId: null, traceparent: null, occurredAt: null, body };
}

const CONNECT_MS = 5000;
const CONFIRM_MS = 5000;
const CLOSE_MS = 1000;

/**
 * Sends messages straight to a queue, past the outbox and the exchange, as nothing in the system does, until the broker
 * has confirmed every one; what has no answer is sent again, and may arrive twice.
 *
 * Errors: when the broker has not taken all of them within a minute.
 */
export async function sendToQueue(
  url: string,
  queue: string,
  messages: readonly OutgoingMessage[],
): Promise<void> {
  let left = messages;
  await eventually(`${queue} to take ${messages.length} messages`, async () => {
    const connection = await connect(url, { noDelay: true, timeout: CONNECT_MS });
    connection.on("error", () => {}); // it may be wiped in the middle: the publisher has no answer then
    try {
      const channel = await connection.createConfirmChannel();
      channel.on("error", () => {});
      const { confirmed } = await createPublisher(channel).publish(left, toQueue(queue), CONFIRM_MS);
      left = left.filter(({ id }) => !confirmed.includes(id));
    } finally {
      // A broker that is killed in the middle of a close leaves the client waiting for its answer without end.
      await withTimeout(CLOSE_MS, connection.close().catch(() => {}));
    }
    return left.length === 0;
  }, GIVE_UP_MS);
}

export interface Fault {
  /** Its number in the schedule, from 1. */
  readonly number: number;
  /** It strikes once so many orders have been accepted: an order's number, no time, so the clock has no say. */
  readonly at: number;
  readonly kind: FaultKind;
  readonly target: string;
  /** 0 for what has no length. */
  readonly lastsMs: number;
  /** 0 where it is about none. */
  readonly messages: number;
  /** The seed of what the fault itself chooses. */
  readonly seed: number;
}

export interface SchedulePlan {
  /** Determines everything; its lower 32 bits count. */
  readonly seed: number;
  readonly orders: number;
  readonly faults: number;
}

const KINDS = Object.keys(FAULT_KINDS) as FaultKind[];
/** Faults strike between these shares of the orders: there is load before the first and after the last one. */
const [FIRST, LAST] = [0.05, 0.95];
const share = fc.nat(9999).map((n) => n / 10_000);
const chance = fc.record({ at: share, lasts: share, messages: share, seed: fc.nat() });

/**
 * Chooses the faults, in the order in which they strike. Kinds and targets are dealt from shuffled decks, so that every
 * card comes once in as many deals as there are cards: with 16 faults or more every kind is among them, with 48 or more
 * every process is killed. Pure.
 */
export function scheduleFaults({ seed, orders, faults }: SchedulePlan): Fault[] {
  const deal = <T>(cards: readonly T[], more: number) => {
    const shuffled = fc.shuffledSubarray([...cards], { minLength: cards.length, maxLength: cards.length });
    return fc.sample(shuffled, { seed: seed + more, numRuns: Math.ceil(faults / cards.length) }).flat()
      .values();
  };
  const within = ([from, to]: readonly [number, number], share: number) =>
    from + Math.floor(share * (to - from + 1));
  const kinds = deal(["kill", "kill", ...KINDS] as const, 0); // kills three times: there are the most processes to kill
  const targets = new Map(KINDS.map((kind, i) => [kind, deal(FAULT_KINDS[kind].targets, i)]));
  return fc.sample(chance, { seed, numRuns: faults }).map((chance, i) => {
    const kind = kinds.next().value ?? "kill";
    const { lastsMs: lasts = [0, 0], messages = [0, 0] } = FAULT_KINDS[kind];
    return {
      number: i + 1,
      at: Math.max(1, Math.floor(orders * (FIRST + (LAST - FIRST) * (i + chance.at) / faults))),
      kind,
      target: targets.get(kind)?.next().value ?? "",
      lastsMs: within(lasts, chance.lasts),
      messages: within(messages, chance.messages),
      seed: chance.seed,
    };
  });
}

/** How many faults of each kind there are, kinds without one included. */
export function countByKind(faults: readonly Fault[]): Record<string, number> {
  return Object.fromEntries(
    KINDS.map((kind) => [kind, faults.filter((fault) => fault.kind === kind).length]),
  );
}

/** A fault in a few words. */
export function describeFault({ number, at, kind, target, lastsMs, messages }: Fault): string {
  const details = [...(lastsMs ? [`${lastsMs} ms`] : []), ...(messages ? [`${messages} messages`] : [])];
  return `fault ${number} at order ${at}: ${[`${kind} ${target}`, ...details].join(", ")}`;
}

/** With so many faults under way the load waits: else it would be over before the last fault strikes. */
const MAX_AT_ONCE = 4;
const GATE_POLL_MS = 10;
/** How long faults may last beyond the last order; what they wait for is bounded, so this is for what nobody foresaw. */
const OVER_MS = 120_000;

/**
 * Lets faults strike in the order of the schedule. They may overlap, but for those that touch the same thing. `say` is told
 * of each.
 */
export function createStrikes(
  faults: readonly Fault[],
  system: ChaosSystem,
  record: FaultRecord,
  say: (line: string) => void,
) {
  const turns = new Map<string, Promise<void>>();
  const failures: Error[] = [];
  const underWay = new Set<Fault>();
  let struck = 0;

  async function strike(fault: Fault, turn: Promise<void>): Promise<void> {
    await turn;
    say(describeFault(fault));
    try {
      await FAULT_KINDS[fault.kind].inject(fault, system, record);
    } catch (cause) {
      failures.push(new Error(`Cannot inject ${describeFault(fault)}: ${messageOf(cause)}`, { cause }));
    }
    underWay.delete(fault);
  }

  return {
    /** To be called with the number of orders accepted so far. */
    onAccepted(count: number): void {
      for (let fault = faults[struck]; fault && fault.at <= count; fault = faults[struck]) {
        struck++;
        underWay.add(fault);
        const resource = resourceOf(fault);
        turns.set(resource, strike(fault, turns.get(resource) ?? Promise.resolve()));
      }
    },
    /** Resolves once fewer faults are under way than may be at once. */
    async gate(): Promise<void> {
      while (underWay.size >= MAX_AT_ONCE) await delay(GATE_POLL_MS);
    },
    /** Resolves when all faults that struck are over; rejects when one could not be injected, or is not over in time. */
    async over(): Promise<void> {
      await withTimeout(OVER_MS, Promise.all(turns.values()));
      for (const fault of underWay) failures.push(new Error(`Not over in time: ${describeFault(fault)}`));
      if (failures.length === 0) return;
      throw new AggregateError(failures, failures.map(({ message }) => message).join("; "));
    },
    /** How many have struck. */
    struck: () => struck,
  };
}

/** What no two faults may touch at once; others may strike at the same time. */
function resourceOf({ kind, target }: Fault): string {
  if (kind === "wipe") return "broker";
  return kind === "copy" || kind === "malform" ? `${kind} ${target}` : target;
}
