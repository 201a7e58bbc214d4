// How fast orders are accepted, published and brought from their request to their end, and how long one takes. Each part
// measures what it is compared with in turns with ours or before and after it, because a machine drifts.

import { setTimeout as delay } from "node:timers/promises";
import { connect as connectBroker } from "amqplib";
import { declareTopology } from "../../shared/broker/connection.ts";
import { readConfig } from "../../shared/process/config.ts";
import { insertingEvents } from "../../shared/sql/outbox.ts";
import { API, RELAY } from "../../workers/dev/processes.ts";
import { eventually } from "../support/eventually.ts";
import { countUnpublished, settled } from "../support/ledger.ts";
import type { TestBroker } from "../support/test_broker.ts";
import type { TestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";
import { type Bench, type BenchPart, type BenchRow, inTurns, median, type Quantiles } from "./bench.ts";
import {
  bareFlow,
  eventsOfOrder,
  insertOneByOne,
  type Pace,
  publishOrders,
  runChains,
  tellEnds,
  timeOrders,
} from "./bare_main.ts";
import { completeLoad, putLoad } from "./services.ts";

/** Connections, and how many times as many orders a second as naive inserts are to be accepted over them. */
const CASES = [{ connections: 16, atLeast: 1 }, { connections: 64, atLeast: 2 }];

export const acceptPart: BenchPart = {
  name: "accept",
  about: "POST /orders, beside one-row insert transactions over as many connections",
  async run(bench) {
    const { services, size, say } = bench;
    await using db = await services.database();
    await using broker = services.broker();
    await db.sql`create table naive_orders (like orders including all)`;
    // The API alone: this is about the stage by itself. The flow measures what is left of it beside all the others.
    await using stack = await startStack({}, { services: { db, broker }, processes: [API.name] });
    const rows: BenchRow[] = [];
    for (const { connections, atLeast } of CASES) {
      const ours = async (orders: number) => {
        const { perSecond, post, cpuShare } = await putLoad(stack.url, { orders, connections });
        return { perSecond, ...post, cpuShare };
      };
      const naive = (orders: number) => insertOneByOne(db.url, orders, connections);
      say(`${connections} connections: warming up`);
      const warmUp = size(3000, 100);
      const seconds = size(3, 0.1);
      const naiveOrders = Math.ceil((await naive(warmUp)).perSecond * seconds);
      const ourOrders = Math.ceil((await ours(warmUp)).perSecond * seconds);
      const rounds = await inTurns(bench, size(3, 1), {
        beside: () => naive(naiveOrders),
        ours: () => ours(ourOrders),
      });
      rows.push(...acceptRows(connections, atLeast, rounds));
    }
    return rows;
  },
};

type Round = Awaited<ReturnType<typeof insertOneByOne>>;

/** The lines of one number of connections: medians of the rounds. Pure. */
export function acceptRows(
  connections: number,
  atLeast: number,
  { ours, beside }: Readonly<Record<"ours" | "beside", readonly Round[]>>,
): BenchRow[] {
  const row = (name: string, unit: string, of: (round: Round) => number) => ({
    what: `accept, ${connections} connections: ${name}`,
    unit,
    ours: median(ours, of),
    beside: median(beside, of),
  });
  const share = (rounds: readonly Round[]) => `${Math.round(100 * median(rounds, (it) => it.cpuShare))} %`;
  const note = `the load generator took ${share(ours)} of a core, the naive client ${share(beside)}`;
  return [
    { ...row("orders", "/s", ({ perSecond }) => perSecond), goal: { atLeast }, note },
    row("p50", "ms", ({ p50 }) => p50),
    { ...row("p99", "ms", ({ p99 }) => p99), goal: { atMost: 1 } },
  ];
}

const CHUNK = 5000;
const DRAIN_MS = 120_000;
const PURGE_EVERY_MS = 250;
/** How often to look whether the outbox is empty: rarely, for the database's clock measures, and a look costs it time. */
const LOOK_EVERY_MS = 100;
/** The relay as it is configured by default: what the bare publisher may have in flight are its two lanes' batches. */
const { OUTBOX_PUBLISHER_BATCH_SIZE: BATCH } = readConfig(["OUTBOX_PUBLISHER_BATCH_SIZE"], () => undefined);

export const relayPart: BenchPart = {
  name: "relay",
  about: "events per second of a backlog that the relay drains, beside amqplib alone with as many like them",
  async run(bench) {
    const { services, size, say } = bench;
    const events = size(200_000, 2000);
    say(`filling the outbox with ${events} events`);
    await using db = await services.database();
    for (let left = events; left > 0; left -= CHUNK) {
      await insertingEvents(db.sql, Array.from({ length: Math.min(left, CHUNK) }, () => eventsOfOrder()[0]));
    }
    await using broker = services.broker();
    const bare = () => publishOrders(broker, events, 2 * BATCH);
    const { ours, beside } = await inTurns(bench, 1, {
      beside: () => whileEmptied(broker, events, bare),
      ours: () => whileEmptied(broker, events, () => drain(db, broker, events)),
    });
    return [{
      what: `relay, backlog of ${events.toLocaleString("en")}: events`,
      unit: "/s",
      ours: median(ours, (perSecond) => perSecond),
      beside: median(beside, (perSecond) => perSecond),
      goal: { atLeast: 0.8 },
      note: "amqplib alone before and after",
    }];
  },
};

/**
 * Starts a relay on a full outbox and waits until it is empty. By the database's clock, from the end of the first batch
 * to the end of the last: until then the relay starts and connects.
 */
async function drain(db: TestSchema, broker: TestBroker, events: number): Promise<number> {
  await using relay = await startStack({}, { services: { db, broker }, processes: [RELAY.name] });
  const { sql } = db;
  await eventually("the outbox to be empty", async () => {
    await delay(LOOK_EVERY_MS);
    // The highest id is in one of the last two batches, so most looks read one row by its key.
    const [last] = await sql<{ isOut: boolean }[]>`
      select published_at is not null as "isOut" from outbox_events order by id desc limit 1`;
    return last?.isOut && await countUnpublished(sql) === 0;
  }, DRAIN_MS);
  if (relay.crashes.length > 0) throw new Error("The relay has ended in between");
  const [times] = await sql<{ events: number; seconds: number }[]>`
    with marked as (select published_at from outbox_events where published_at is not null),
         first as (select published_at from marked order by published_at offset ${BATCH - 1} limit 1)
    select count(*)::int - ${BATCH}::int as events,
           extract(epoch from max(marked.published_at) - min(first.published_at))::float8 as seconds
    from marked, first`;
  if (!times || times.events !== events - BATCH) {
    throw new Error(`The relay marked ${times?.events} events after its first batch, not ${events - BATCH}`);
  }
  return times.events / times.seconds;
}

/**
 * Runs `work` and meanwhile deletes what comes to the broker. Nobody consumes, so the queue is purged every quarter of a
 * second: the embedded broker would stop publishers long before it has 200,000 messages, and a queue that grows is not
 * what is measured.
 *
 * Errors: unless just so many messages came.
 */
async function whileEmptied<T>(
  { url, topology }: TestBroker,
  messages: number,
  work: () => Promise<T>,
): Promise<T> {
  await using resources = new AsyncDisposableStack();
  const model = await connectBroker(url);
  resources.defer(() => model.close());
  const channel = await model.createChannel();
  await declareTopology(channel, topology);
  const queue = topology.queues.paymentsOrderCreated.name;
  const over = new AbortController();
  const purgeAll = async () => {
    for (let came = 0;;) {
      const isLast = over.signal.aborted;
      came += (await channel.purgeQueue(queue)).messageCount;
      if (isLast) return came;
      await delay(PURGE_EVERY_MS, undefined, { signal: over.signal }).catch(() => {}); // over: once more
    }
  };
  const [result, came] = await Promise.all([work().finally(() => over.abort()), purgeAll()]);
  if (came !== messages) throw new Error(`${came} messages came to ${queue}, not ${messages}`);
  return result;
}

const CONNECTIONS = 64;

export const flowPart: BenchPart = {
  name: "flow",
  about: "orders per second from POST to the end, beside the same messages through the broker alone",
  async run(bench) {
    const { services, size, say } = bench;
    const orders = size(30_000, 100);
    const { ours, beside } = await inTurns(bench, 1, {
      async beside() {
        await using broker = services.broker();
        return await bareFlow(broker, orders);
      },
      async ours() {
        await using db = await services.database();
        await using broker = services.broker();
        await using stack = await startStack({}, { services: { db, broker } });
        say("warming up");
        await completeLoad(stack, { orders: size(500, 20), connections: CONNECTIONS });
        say(`${orders} orders`);
        return await completeLoad(stack, { orders, connections: CONNECTIONS });
      },
    });
    const { isBrokerEmbedded } = services;
    const why = "goal is on RabbitMQ: the embedded broker writes nothing to disk";
    const bare = `beside it ${beside.map((perSecond) => perSecond.toFixed(0)).join(" and ")}`;
    const load = median(ours, ({ cpuShare }) => cpuShare).toFixed(2);
    const notes = [bare, `load generator ${load} of a core while it sent`];
    return [{
      what: "flow: POST to final state",
      unit: "orders/s",
      ours: median(ours, ({ end }) => end.perSecond),
      beside: median(beside, (perSecond) => perSecond),
      ...isBrokerEmbedded ? {} : { goal: { atLeast: 0.6 } },
      note: (isBrokerEmbedded ? [why, ...notes] : notes).join("; "),
    }];
  },
};

/** Between two orders or chains with nothing beside them: each has ended long before the next one comes. */
const IDLE_EVERY_MS = 100;
/**
 * What goes before, one by one as well, of orders and chains alike: a system at rest has run for days. Its code is compiled
 * step by step: p50 went from 12.8 to 9.4 ms over 3,000 orders.
 */
const WARM_UP: Pace = { count: 3000, everyMs: 12 };
/** Between two orders that are measured among the load. */
const BUSY_EVERY_MS = 20;
const BUSY_SECONDS = 10;

/**
 * An order counts from before its request leaves until a session that listens has been told of its last commit: nobody
 * looks at the table meanwhile. The bare chain beside it, which is one process alone with the services, runs at the same
 * pace.
 */
export const latencyPart: BenchPart = {
  name: "latency",
  about: "milliseconds from POST to COMPLETED: idle, beside bare commits and hops; under load, beside idle",
  async run(bench) {
    const { ours: [ours], beside } = await inTurns(bench, 1, {
      beside: () => bareChains(bench),
      ours: () => latencies(bench),
    });
    if (!ours) throw new Error("There is no round to tell of");
    const { idle, busy, note } = ours;
    const row = (what: string, ours: number, beside: number) => ({ what, unit: "ms", ours, beside });
    const bare = `beside it ${beside.map(({ p50 }) => p50.toFixed(1)).join(" and ")}`;
    const half = "latency under way at half rate";
    return [
      {
        ...row("idle latency p50", idle.p50, median(beside, (it) => it.p50)),
        goal: { atMost: 2 },
        note: bare,
      },
      row("idle latency p99", idle.p99, median(beside, (it) => it.p99)),
      { ...row(`${half} p50`, busy.p50, idle.p50), goal: { atMost: 3 }, note },
      { ...row(`${half} p99`, busy.p99, idle.p99), goal: { atMost: 10 }, note: "as above" },
    ];
  },
};

/** Of single orders, idle and beside load; the note says what the load was. */
async function latencies({ services, size, say }: Bench) {
  await using db = await services.database();
  await using broker = services.broker();
  await using stack = await startStack({}, { services: { db, broker } });
  await tellEnds(db.sql);
  const time = (count: number, everyMs: number) => timeOrders(db.url, stack.url, { count, everyMs });
  say("warming up");
  await time(size(WARM_UP.count, 5), WARM_UP.everyMs);
  const count = size(150, 5);
  say(`${count} orders one by one`);
  const idle = await time(count, IDLE_EVERY_MS);
  say("orders as fast as they go");
  const { end } = await completeLoad(stack, { orders: size(6000, 60), connections: CONNECTIONS });
  await settled(stack);
  const measured = size(BUSY_SECONDS * 1000 / BUSY_EVERY_MS, 10);
  const rate = Math.max(Math.floor(end.perSecond / 2 - 1000 / BUSY_EVERY_MS), 1); // the measured ones are part of it
  say(`${measured} orders at half that rate`);
  const orders = Math.min(rate * BUSY_SECONDS, size(Infinity, 60));
  const [busy, load] = await Promise.all([
    time(measured, BUSY_EVERY_MS),
    completeLoad(stack, { orders, connections: CONNECTIONS, rate }),
  ]);
  const beside = `beside ${load.perSecond.toFixed(0)} of at most ${end.perSecond.toFixed(0)} orders/s`;
  const note = `${measured} orders ${beside}, generator ${load.cpuShare.toFixed(2)} of a core`;
  return { idle, busy, note };
}

async function bareChains({ services, size }: Bench): Promise<Quantiles> {
  const count = size(150, 5);
  await using db = await services.database();
  await using broker = services.broker();
  const queue = broker.topology.queues.paymentsOrderCreated.name;
  const chains = (pace: Pace) => runChains(db.url, broker.url, queue, pace);
  await chains({ ...WARM_UP, count: size(WARM_UP.count, 5) });
  return await chains({ count, everyMs: IDLE_EVERY_MS });
}
