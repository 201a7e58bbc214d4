/**
 * Lets the faults of a schedule strike: what each kind does, and when its turn comes.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "amqplib";
import { v7 as uuidv7 } from "uuid";
import { bindingsOf } from "../../shared/broker/connection.ts";
import { createPublisher, type OutgoingMessage, toQueue } from "../../shared/broker/publish.ts";
import { type EventData, type EventType, makeEvent } from "../../shared/events.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { uuids } from "../../shared/sql/connect.ts";
import { readEventsForPublishing } from "../../shared/sql/outbox.ts";
import type { QueueKey } from "../../shared/topology.ts";
import { CONSUMERS } from "../../workers/dev/processes.ts";
import { eventually } from "../support/eventually.ts";
import { describeFault, type Fault, type FaultKind } from "./schedule.ts";
import type { ChaosSystem } from "./system.ts";

/** What the faults leave behind for the ledger. */
export interface FaultRecord {
  /** How many wipes of the broker are over. */
  wipes: number;
  readonly malformed: SentMalformed[];
  /** How many events were sent again, in one way or another. */
  resent: number;
}

/** A message that no consumer can ever process. */
interface MalformedMessage {
  /** The reason that its dead letter has to have. */
  readonly reason: string;
  /** No two are the same. */
  readonly body: string | Uint8Array;
}

export interface SentMalformed extends MalformedMessage {
  /** The queue that it was sent to, which is its consumer's name. */
  readonly queue: string;
  /** How many wipes of the broker were over before it was sent: by a later one it may be lost. */
  readonly wipesBefore: number;
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
      await INJECTORS[fault.kind](fault, system, record);
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
  if (kind === "restart") return "database";
  return kind === "copy" || kind === "malform" ? `${kind} ${target}` : target;
}

/** As the supervisor: the pause before it starts what has ended, in milliseconds. */
const RESTART_DELAY_MS = 200;
/** A fault that itself meets the outage of another one is tried again for so long: longer than any fault lasts. */
const GIVE_UP_MS = 60_000;

/** Lets a fault of one kind strike; resolves when it is over, which is not to say that the system has recovered. */
type Inject = (fault: Fault, system: ChaosSystem, record: FaultRecord) => Promise<void>;

const INJECTORS: Readonly<Record<FaultKind, Inject>> = {
  async kill({ target }, { stack }) {
    await stack.kill(target);
    await delay(RESTART_DELAY_MS);
    stack.start(target);
  },
  async copy({ target, lastsMs }, { stack }) {
    const copy = stack.startCopy(target);
    await delay(lastsMs);
    await copy.end("SIGKILL");
  },
  async hold({ target, lastsMs }, { stack }) {
    await stack.stop(target);
    await delay(lastsMs);
    stack.start(target);
  },
  async cut(fault, system) {
    const wire = wireOf(fault, system);
    wire.cut();
    await delay(fault.lastsMs);
    wire.restore();
  },
  blip: (fault, system) => Promise.resolve(wireOf(fault, system).breakConnections()),
  async wipe(_, { broker }, record) {
    await eventually("the broker to be wiped", () => broker.wipe().then(() => true), GIVE_UP_MS);
    record.wipes++; // afterwards: what was sent meanwhile may be gone as well
  },
  restart: ({ lastsMs }, { stack, database }) => database.restart(stack.wires.database, lastsMs),
  /** The relay publishes a sample again, as `POST /ops/outbox/:id/republish` has it do with one event. */
  async duplicate(fault, system, record) {
    const { sql } = system.database.db;
    await eventually("events to be published again", async () => {
      const ids = await sample(system, fault);
      const { count } = await sql`
        update outbox_events set published_at = null
        where id = any(${uuids(ids)}::text::uuid[]) and published_at is not null`;
      record.resent += count;
      return true;
    }, GIVE_UP_MS);
  },
  /** A sample goes straight to the queues, the newest event first: repeats, and some that come before their cause. */
  async reverse(fault, system, record) {
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
  async malform({ target, messages }, { broker, database }, record) {
    const key = CONSUMERS.find(({ name }) => name === target)?.queue;
    if (!key) throw new Error(`There is no consumer ${target}`);
    const { sql } = database.db;
    const finished = await eventually("finished orders", async () => {
      const [row] = await sql<FinishedOrders[]>`
        select (select id from orders where status = 'COMPLETED' limit 1) as completed,
               (select id from orders where status = 'PAYMENT_FAILED' limit 1) as declined`;
      return row;
    }, GIVE_UP_MS);
    const queue = broker.topology.queues[key].name;
    const made = malformedMessages(key, messages, finished);
    record.malformed.push(...made.map((message) => ({ ...message, queue, wipesBefore: record.wipes })));
    await sendToQueue(broker.url, queue, made.map(asMessage));
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

/** Orders that have ended in one way or the other; null where there is none. */
interface FinishedOrders {
  readonly completed: string | null;
  readonly declined: string | null;
}

/**
 * `count` messages for a queue, one of each sort in turn. None has the id of a real event: a dead letter counts as what
 * became of the event that it names, and these stand for nobody's.
 */
export function malformedMessages(
  key: QueueKey,
  count: number,
  { completed, declined }: FinishedOrders,
): MalformedMessage[] {
  const [courseId, reason, notificationType] = [
    RESERVED_COURSES.success,
    "malformed",
    "ORDER_COMPLETED",
  ] as const;
  const order = (over: object = {}) =>
    newEvent("order.created", { orderId: uuidv7(), userId: SCENARIO_USER, courseId, amount: "49.90" }, over);
  const sorts: (() => readonly [reason: string, body: MalformedMessage["body"]])[] = [
    () => ["not JSON", crypto.getRandomValues(new Uint8Array(64)).fill(0xff, 0, 4)],
    () => ["not JSON", order().slice(0, -20)],
    () => ["unknown version", order({ version: 2 })],
    () => ["unknown type", order({ type: "order.\0imagined" })],
    () => ["invalid payload", order({ data: { orderId: uuidv7() } })],
    () => [ // no queue is bound to it
      "unexpected type",
      newEvent("notification.sent", { orderId: uuidv7(), notificationId: uuidv7(), notificationType }),
    ],
  ];
  const illegal = "illegal transition"; // what the state machine refuses; only the orders module has one
  if (key === "ordersPaymentEvents") {
    const data = () => ({ orderId: completed ?? uuidv7(), paymentId: uuidv7(), reason });
    sorts.push(() => [illegal, newEvent("payment.failed", data())]);
  }
  if (key === "ordersLifecycleEvents") {
    const data = () => ({ orderId: declined ?? uuidv7(), enrollmentId: uuidv7(), courseId });
    sorts.push(() => [illegal, newEvent("enrollment.granted", data())]);
  }
  return Array.from({ length: count }, (_, i) => {
    const [reason, body] = sorts[i % sorts.length]!();
    return { reason, body };
  });
}

/** An event with an id of its own as JSON, some of its fields replaced. */
function newEvent<T extends EventType>(type: T, data: EventData<T>, over: object = {}): string {
  const cause = { correlationId: `malformed-${uuidv7()}`, traceparent: null };
  return JSON.stringify({ ...makeEvent(type, data, cause, new Date()).event, ...over });
}

/** A malformed body as a message, whose properties tell nothing. */
export function asMessage({ body }: MalformedMessage): OutgoingMessage {
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
