// What is measured beside OrderFlow: its services without it. And single orders, one at a time. All of it runs in the
// benchmark's own process, which does nothing else meanwhile; as a script this file is the consumer of the bare flow.

import { Buffer } from "node:buffer";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { type ChannelModel, connect as connectBroker, type Options } from "amqplib";
import { v7 as uuidv7 } from "uuid";
import { declareTopology } from "../../shared/broker/connection.ts";
import { type EventData, type EventType, makeEvent } from "../../shared/events.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { connect, type Sql } from "../../shared/sql/connect.ts";
import { CONSUMED_TYPES } from "../../shared/topology.ts";
import { eventually } from "../support/eventually.ts";
import { callApi } from "../support/http.ts";
import type { TestBroker } from "../support/test_broker.ts";
import { type Quantiles, quantiles, runScript } from "./bench.ts";

/** Rows into `naive_orders`, each in a transaction of its own, over so many connections. */
export async function insertOneByOne(database: string, orders: number, connections: number) {
  const sql = connect(database, { name: "naive inserts", role: null, max: connections });
  // Every connection is open before the clock starts, as the API's are.
  await Promise.all(Array.from({ length: connections }, () => sql`select pg_sleep(0.05)`));
  const latencies: number[] = [];
  const cpuBefore = process.cpuUsage();
  const startedMs = performance.now();
  let left = orders;
  await Promise.all(Array.from({ length: connections }, async () => {
    while (left-- > 0) {
      const sentMs = performance.now();
      await insertOrder(sql, "naive_orders");
      latencies.push(performance.now() - sentMs);
    }
  }));
  const seconds = (performance.now() - startedMs) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  await sql.end({ timeout: 2 });
  return { perSecond: orders / seconds, cpuShare: (user + system) / 1e6 / seconds, ...quantiles(latencies) };
}

function insertOrder(sql: Sql, table: "orders" | "naive_orders") {
  const now = new Date();
  return sql`
    insert into ${sql(table)} (id, user_id, course_id, amount, correlation_id, created_at, updated_at)
    values (${uuidv7()}, ${SCENARIO_USER}, ${RESERVED_COURSES.success}, ${"49.90"}, ${uuidv7()}, ${now}, ${now})`;
}

/** The events of one new order that goes well, in the order in which they happen. */
export function eventsOfOrder() {
  const [orderId, courseId, amount, correlationId] = [uuidv7(), RESERVED_COURSES.success, "49.90", uuidv7()];
  const [paymentId, enrollmentId, notificationId] = [uuidv7(), uuidv7(), uuidv7()];
  const traceparent = `00-${correlationId.replaceAll("-", "")}-b7ad6b7169203331-01`;
  const make = <T extends EventType>(type: T, data: EventData<T>) =>
    makeEvent(type, data, { correlationId, traceparent }, new Date());
  return [
    make("order.created", { orderId, userId: SCENARIO_USER, courseId, amount }),
    make("payment.succeeded", { orderId, paymentId, courseId, amount }),
    make("enrollment.granted", { orderId, enrollmentId, courseId }),
    make("notification.sent", { orderId, notificationId, notificationType: "ORDER_COMPLETED" }),
  ] as const;
}

type Made = ReturnType<typeof eventsOfOrder>[number];

/** The message of an event, with the properties that the relay sends. */
function messageOf({ event, traceparent }: Made) {
  const properties: Options.Publish = {
    persistent: true,
    mandatory: CONSUMED_TYPES.has(event.type),
    contentType: "application/json",
    messageId: event.eventId,
    type: event.type,
    correlationId: event.correlationId,
    timestamp: Math.floor(new Date(event.occurredAt).getTime() / 1000),
    headers: { traceparent },
  };
  return { type: event.type, body: Buffer.from(JSON.stringify(event)), properties };
}

/** Orders whose events are made, before the clock starts; all further orders' are the same again. */
const DISTINCT_ORDERS = 1000;

/**
 * Publishes the events of so many orders that `wanted` picks, over a channel of its own, never more than `window` without
 * their confirms; resolves with the time before the first, in milliseconds since 1970, and the events per second.
 *
 * Errors: when a message is refused or has no queue, and when the broker takes no more.
 */
async function publishEvents(
  model: ChannelModel,
  exchange: string,
  orders: number,
  window: number,
  wanted = (_: EventType) => true,
) {
  const events = Array.from({ length: Math.min(orders, DISTINCT_ORDERS) }, eventsOfOrder).flat();
  const messages = events.filter(({ event }) => wanted(event.type)).map(messageOf);
  const total = orders * eventsOfOrder().filter(({ event }) => wanted(event.type)).length;
  const channel = await model.createConfirmChannel();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  channel.on("return", () => reject(new Error(`no queue is bound to the exchange "${exchange}"`)));
  model.on("blocked", (reason) => reject(new Error(`the broker takes no more messages: ${reason}`)));
  let sent = 0;
  let confirmed = 0;
  const onConfirm = (error: unknown) => {
    if (error) return reject(error);
    if (++confirmed === total) resolve();
    else send();
  };
  const send = () => {
    while (sent < total && sent - confirmed < window) {
      const { type, body, properties } = messages[sent++ % messages.length]!;
      channel.publish(exchange, type, body, properties, onConfirm);
    }
  };
  const startedMs = performance.now();
  send();
  await promise;
  const seconds = (performance.now() - startedMs) / 1000;
  return { startedMs: performance.timeOrigin + startedMs, perSecond: total / seconds };
}

/** Events of new orders per second through amqplib alone, `window` of them without their confirm at once. */
export async function publishOrders({ url, topology }: TestBroker, orders: number, window: number) {
  const model = await connectBroker(url, { noDelay: true });
  const isCreated = (type: EventType) => type === "order.created";
  const { perSecond } = await publishEvents(model, topology.exchange, orders, window, isCreated);
  await model.close();
  return perSecond;
}

/** Publishes without their confirm at once: as many as the relay has in two batches. */
const FLOW_WINDOW = 1000;
/** Deliveries without their ack at once, for each queue, and how many are acked together: as our consumers do. */
const PREFETCH = 500;
const ACK_EVERY = 250;

/** Where to consume, and how many messages come to each queue. */
interface Job {
  readonly broker: string;
  readonly queues: readonly { readonly name: string; readonly messages: number }[];
}

/**
 * Orders per second whose messages go through the broker with nothing done for them. This process publishes and another
 * one consumes: on two cores that is the fastest that the client can be, faster than as many processes as ours are.
 */
export async function bareFlow({ url: broker, topology }: TestBroker, orders: number): Promise<number> {
  const types: readonly EventType[] = eventsOfOrder().map(({ event }) => event.type);
  const queues = Object.values(topology.queues)
    .map(({ name, bindings }) => ({
      name,
      messages: orders * bindings.filter((type) => types.includes(type)).length,
    }))
    .filter(({ messages }) => messages > 0);
  const connection = await connectBroker(broker, { noDelay: true });
  const channel = await connection.createChannel();
  await declareTopology(channel, topology);
  const publish = async () => {
    await eventually("the other process to subscribe", async () => {
      const seen = await Promise.all(queues.map(({ name }) => channel.checkQueue(name)));
      return seen.every(({ consumerCount }) => consumerCount > 0);
    });
    return await publishEvents(connection, topology.exchange, orders, FLOW_WINDOW);
  };
  const job: Job = { broker, queues };
  const endedMs = runScript<number>("specs/bench/bare_main.ts", [JSON.stringify(job)]);
  const [lastMs, { startedMs }] = await Promise.all([endedMs, publish()]);
  await connection.close();
  return orders / ((lastMs - startedMs) / 1000);
}

/** Consumes every queue to its last message; resolves with the time of the last of all. */
async function consumeFlow({ broker, queues }: Job): Promise<number> {
  const connections = await Promise.all(queues.map(async ({ name, messages }) => {
    const connection = await connectBroker(broker, { noDelay: true }); // one for each, as our consumers have
    const channel = await connection.createChannel();
    await channel.prefetch(PREFETCH);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let received = 0;
    channel.consume(name, (message) => {
      if (!message) return reject(new Error(`The queue ${name} was deleted`));
      received++;
      if (received % ACK_EVERY === 0 || received === messages) channel.ack(message, true);
      if (received === messages) resolve();
    }).catch(reject);
    await promise;
    return connection;
  }));
  const endedMs = Date.now();
  await Promise.all(connections.map((connection) => connection.close()));
  return endedMs;
}

/** Runs before the first that counts. */
const WARM_UP = 20;

export interface Pace {
  readonly count: number;
  readonly everyMs: number;
}

/** Begins with `once` every `everyMs` milliseconds, whether or not the one before has ended; how long they took. */
async function paced({ count, everyMs }: Pace, once: () => Promise<void>): Promise<Quantiles> {
  const running: Promise<number>[] = [];
  const startedMs = performance.now();
  for (let n = 0; n < WARM_UP + count; n++) {
    await delay(Math.max(0, startedMs + n * everyMs - performance.now()));
    const sentMs = performance.now();
    const run = once().then(() => performance.now() - sentMs);
    run.catch(() => {}); // is told below
    running.push(run);
  }
  return quantiles((await Promise.all(running)).slice(WARM_UP));
}

/**
 * What an order waits for, and nothing else, in one process: five commits (among them that of `PAID`, which happens beside
 * the seat's) and three hops, each of which is a publish with its confirm and its delivery.
 */
export async function runChains(
  database: string,
  broker: string,
  queue: string,
  pace: Pace,
): Promise<Quantiles> {
  const sql = connect(database, { name: "bench", role: null, max: 1 });
  const publishing = await connectBroker(broker, { noDelay: true });
  const consuming = await connectBroker(broker, { noDelay: true });
  const out = await publishing.createConfirmChannel();
  const back = await consuming.createChannel();
  const message = messageOf(eventsOfOrder()[0]);
  const waiting: (() => void)[] = [];
  await out.assertQueue(queue, { durable: true, arguments: { "x-queue-type": "quorum" } });
  await back.consume(queue, (delivery) => {
    if (!delivery) throw new Error(`The queue ${queue} was deleted`);
    back.ack(delivery);
    waiting.shift()?.();
  });
  const commit = () => insertOrder(sql, "orders");
  const hop = async () => {
    const [delivered, confirmed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const onConfirm = (error: unknown) => error ? confirmed.reject(error) : confirmed.resolve();
    waiting.push(delivered.resolve);
    out.sendToQueue(queue, message.body, message.properties, onConfirm);
    await Promise.all([delivered.promise, confirmed.promise]);
  };
  const took = await paced(pace, async () => {
    for (const step of [commit, hop, commit, hop, commit, hop, commit, commit]) await step();
  });
  await Promise.all([publishing.close(), consuming.close(), sql.end({ timeout: 2 })]);
  return took;
}

const END_CHANNEL = "bench_ends";
/** Who places the orders that are measured one by one, so that nobody else's are told of. */
const PROBE_USER = "00000000-0000-0000-0000-0000000000be";

/**
 * Has the database tell of the end of each order that `timeOrders` places, by a notification that leaves with the commit. It
 * costs that transaction one, and nobody has to look: nothing but the order is on its way meanwhile.
 */
export async function tellEnds(sql: Sql): Promise<void> {
  await sql.unsafe(`
    create function tell_end() returns trigger language plpgsql as $$
      begin perform pg_notify('${END_CHANNEL}', new.id::text); return null; end $$;
    create trigger tell_end after update on orders for each row
    when (new.status = 'COMPLETED' and new.user_id = '${PROBE_USER}') execute function tell_end();`);
}

/** From before each order's request leaves until this process has been told that its last commit is done: see `tellEnds`. */
export async function timeOrders(database: string, api: string, pace: Pace): Promise<Quantiles> {
  const sql = connect(database, { name: "bench", role: null, max: 1 });
  const ended = new Map<string, PromiseWithResolvers<void>>();
  const endOf = (id: string) => ended.getOrInsertComputed(id, () => Promise.withResolvers<void>());
  await sql.listen(END_CHANNEL, (id) => endOf(id).resolve());
  const order = { userId: PROBE_USER, courseId: RESERVED_COURSES.success, amount: "49.90" };
  const took = await paced(pace, async () => {
    const { id } = await callApi("POST", `${api}/orders`, order);
    await endOf(id).promise;
  });
  await sql.end({ timeout: 2 });
  return took;
}

if (import.meta.main) {
  console.log(JSON.stringify(await consumeFlow(JSON.parse(Deno.args[0] ?? ""))));
}
