/**
 * How fast the relay drains a backlog, beside amqplib alone with the same messages.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { type Channel, connect as connectBroker } from "amqplib";
import { v7 as uuidv7 } from "uuid";
import { declareTopology } from "../../shared/broker/connection.ts";
import { makeEvent } from "../../shared/events.ts";
import { readConfig } from "../../shared/process/config.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { insertingEvents } from "../../shared/sql/outbox.ts";
import { RELAY } from "../../workers/dev/processes.ts";
import { eventually } from "../support/eventually.ts";
import type { TestBroker } from "../support/test_broker.ts";
import type { TestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";
import type { Bench, BenchPart } from "./bench.ts";
import { startMachineMeter } from "./cost_part.ts";
import { measure, speedSchema } from "./measure_main.ts";

const EVENTS = 200_000;
const TINY_EVENTS = 2000;
/** Events of one statement that fills the outbox. */
const CHUNK = 5000;
/** The longest that a drain may take, in milliseconds. */
const DRAIN_MS = 120_000;
const PURGE_EVERY_MS = 250;
/** How often to look whether the outbox is empty: rarely, for the database's clock measures, and a look costs it time. */
const LOOK_EVERY_MS = 100;

/** The relay as it is configured by default: what the bare publisher may have in flight are its two lanes' batches. */
const { OUTBOX_PUBLISHER_BATCH_SIZE: BATCH } = readConfig(["OUTBOX_PUBLISHER_BATCH_SIZE"], () => undefined);
const WINDOW = 2 * BATCH;

export const relayPart: BenchPart = {
  name: "relay",
  about: "events per second of a backlog that the relay drains, beside amqplib alone with the same messages",
  async run(bench) {
    const events = bench.size(EVENTS, TINY_EVENTS);
    bench.say(`filling the outbox with ${events} events`);
    await using db = await bench.services.database();
    await fillOutbox(db.sql, events);
    await using broker = await openBroker(bench);
    const { exchange } = broker.topology;
    const job = { what: "publish", database: db.url, broker: broker.url, exchange, window: WINDOW } as const;
    const bare = () => broker.whileEmptied(events, () => measure(job, speedSchema));
    bench.say("amqplib alone");
    const before = await bare();
    bench.say(`the relay, after ${Math.round(before.perSecond)}/s`);
    const relay = await broker.whileEmptied(events, () => drain(db, broker, events));
    bench.say(`amqplib alone, after ${Math.round(relay.perSecond)}/s`);
    const after = await bare();
    const percent = (share: number) => `${Math.round(100 * share)} %`;
    return [{
      what: `relay, backlog of ${events.toLocaleString("en")}: events`,
      unit: "/s",
      ours: relay.perSecond,
      beside: (before.perSecond + after.perSecond) / 2,
      goal: { atLeast: 0.8 },
      note:
        `amqplib alone before and after; of a core the relay used ${
          percent(relay.cpuShare)
        }, amqplib alone ` +
        percent((before.cpuShare + after.cpuShare) / 2),
    }];
  },
};

/** Appends the events of as many new orders, as the API does. */
async function fillOutbox(sql: Sql, events: number): Promise<void> {
  for (let left = events; left > 0; left -= CHUNK) {
    await insertingEvents(sql, Array.from({ length: Math.min(left, CHUNK) }, orderCreated));
  }
}

function orderCreated() {
  const traceparent = `00-${crypto.randomUUID().replaceAll("-", "")}-b7ad6b7169203331-01`;
  const data = {
    orderId: uuidv7(),
    userId: SCENARIO_USER,
    courseId: RESERVED_COURSES.success,
    amount: "49.90",
  };
  return makeEvent("order.created", data, { correlationId: crypto.randomUUID(), traceparent }, new Date());
}

interface Drain {
  readonly perSecond: number;
  readonly cpuShare: number;
}

/**
 * Starts a relay on a full outbox and waits until it is empty. By the database's clock, from the end of the first batch
 * to the end of the last: until then the relay starts and connects.
 */
async function drain(db: TestSchema, broker: TestBroker, events: number): Promise<Drain> {
  await using relay = await startStack({}, { services: { db, broker }, processes: [RELAY.name] });
  const { sql } = db;
  await eventually("the relay to publish", () => isPublishing(sql), 30_000);
  const meter = await startMachineMeter(relay.pids());
  await eventually("the outbox to be empty", async () => {
    await delay(LOOK_EVERY_MS);
    if (relay.crashes.length > 0) throw new Error("the relay has ended");
    return await isEmpty(sql);
  }, DRAIN_MS);
  const { cpuSeconds, seconds } = await meter.read();
  const cpuShare = (cpuSeconds.get(RELAY.name) ?? 0) / seconds;
  const [times] = await sql<{ events: number; seconds: number }[]>`
    with marked as (select published_at from outbox_events where published_at is not null),
         first as (select published_at from marked order by published_at offset ${BATCH - 1} limit 1)
    select count(*)::int - ${BATCH}::int as events,
           extract(epoch from max(marked.published_at) - min(first.published_at))::float8 as seconds
    from marked, first`;
  if (!times || times.events !== events - BATCH) {
    throw new Error(`The relay marked ${times?.events} events after its first batch, not ${events - BATCH}`);
  }
  return { perSecond: times.events / times.seconds, cpuShare };
}

/** The relay takes the lowest id first. */
async function isPublishing(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ is: boolean }[]>`
    select published_at is not null as is from outbox_events order by id limit 1`;
  return row?.is ?? false;
}

/** The highest id is in one of the last two batches, so most looks read one row by its key. */
async function isEmpty(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ is: boolean }[]>`
    select published_at is not null as is from outbox_events order by id desc limit 1`;
  if (!row?.is) return false;
  const [rest] = await sql<{ is: boolean }[]>`
    select not exists (select from outbox_events where published_at is null) as is`;
  return rest?.is ?? false;
}

interface BenchBroker extends TestBroker {
  /** Runs `work` and meanwhile deletes what comes; rejects unless just so many messages came. */
  whileEmptied<T>(messages: number, work: () => Promise<T>): Promise<T>;
}

/**
 * The broker with the topology declared. Nobody consumes, so the queue is purged every quarter of a second: the embedded
 * broker would stop publishers long before it has 200,000 messages, and a queue that grows is not what is measured.
 */
async function openBroker(bench: Bench): Promise<BenchBroker> {
  await using resources = new AsyncDisposableStack();
  const broker = resources.use(bench.services.broker());
  const model = await connectBroker(broker.url);
  resources.defer(() => model.close());
  const channel = await model.createChannel();
  await declareTopology(channel, broker.topology);
  const queue = broker.topology.queues.paymentsOrderCreated.name;
  const owned = resources.move();
  return {
    ...broker,
    async whileEmptied(messages, work) {
      const over = new AbortController();
      const [result, came] = await Promise.all([
        work().finally(() => over.abort()),
        purgeAll(channel, queue, over.signal),
      ]);
      if (came !== messages) throw new Error(`${came} messages came to ${queue}, not ${messages}`);
      return result;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Purges the queue until `stop` is aborted, and once more; answers with how many messages that deleted. */
async function purgeAll(channel: Channel, queue: string, stop: AbortSignal): Promise<number> {
  for (let came = 0;;) {
    const isLast = stop.aborted;
    came += (await channel.purgeQueue(queue)).messageCount;
    if (isLast) return came;
    await delay(PURGE_EVERY_MS, undefined, { signal: stop }).catch(() => {}); // aborted: once more
  }
}
