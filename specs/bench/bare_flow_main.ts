/**
 * The messages of a number of orders through the broker alone: one half publishes them, the other, in a process of its
 * own, consumes them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { parseArgs } from "node:util";
import { type Channel, connect } from "amqplib";
import { z } from "zod";
import { declareTopology } from "../../shared/broker/connection.ts";
import { CONSUMED_TYPES, type Topology } from "../../shared/topology.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { eventually } from "../support/eventually.ts";
import { eventsOfOrder, FLOW_TYPES } from "./order_events.ts";

/** What a half answers: both times in milliseconds since 1970, of a clock that both halves share. */
export interface BareFlow {
  /** Before the first publish, or the first subscription. */
  readonly startedMs: number;
  /** After the last confirm, or the last delivery. */
  readonly endedMs: number;
  /** Publishes, or deliveries. */
  readonly messages: number;
}

/** What a half answers, as JSON. */
export const bareFlowSchema: z.ZodType<BareFlow> = z.object({
  startedMs: z.number(),
  endedMs: z.number(),
  messages: z.number().int(),
});

/** Both halves have this long, in milliseconds. */
const LIMIT_MS = 300_000;
/** Publishes without their confirm at once: as many as the relay has in two batches. */
const WINDOW = 1000;
/** Deliveries without their ack at once, for each queue, and how many are acked together: as our consumers do. */
const PREFETCH = 500;
const ACK_EVERY = 250;
/** Orders whose events are made, before the clock starts; all further orders' are the same again. */
const DISTINCT_ORDERS = 1000;

interface Half {
  readonly broker: string;
  readonly topology: Topology;
  readonly orders: number;
}

async function publish({ broker, topology, orders }: Half): Promise<BareFlow> {
  const connection = await connect(broker, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  await declareTopology(channel, topology);
  await eventually("the other half to subscribe", async () => {
    const queues = await Promise.all(busyQueues(topology).map(({ name }) => channel.checkQueue(name)));
    return queues.every(({ consumerCount }) => consumerCount > 0);
  });
  const events = Array.from({ length: Math.min(orders, DISTINCT_ORDERS) }, eventsOfOrder).flat();
  const messages = events.map((event) => ({
    type: event.type,
    body: Buffer.from(JSON.stringify(event)),
    properties: {
      persistent: true,
      mandatory: CONSUMED_TYPES.has(event.type),
      contentType: "application/json",
      messageId: event.eventId,
      type: event.type,
      correlationId: event.correlationId,
      timestamp: Math.floor(Date.parse(event.occurredAt) / 1000),
    },
  }));
  const total = orders * FLOW_TYPES.length;
  let sent = 0;
  let confirmed = 0;
  const startedMs = now();
  await bounded(() => `${confirmed} of ${total} publishes are confirmed`, (resolve, reject) => {
    const fill = () => {
      for (; sent < total && sent - confirmed < WINDOW; sent++) {
        const message = messages[sent % messages.length];
        if (!message) throw new Error("There is no message to publish");
        channel.publish(topology.exchange, message.type, message.body, message.properties, settle);
      }
    };
    const settle = (error: unknown) => {
      if (error) return reject(error);
      if (++confirmed === total) resolve();
      else if (sent - confirmed <= WINDOW / 2) fill();
    };
    fill();
  });
  const endedMs = now();
  await connection.close();
  return { startedMs, endedMs, messages: total };
}

async function consume({ broker, topology, orders }: Half): Promise<BareFlow> {
  const startedMs = now();
  const queues = await Promise.all(
    busyQueues(topology).map(async ({ name, share }) => {
      const connection = await connect(broker, { noDelay: true }); // one for each, as our consumers have
      const channel = await connection.createChannel();
      await declareTopology(channel, topology);
      await channel.prefetch(PREFETCH);
      return { connection, channel, name, messages: share * orders };
    }),
  );
  await Promise.all(queues.map(({ channel, name, messages }) => consumeQueue(channel, name, messages)));
  const endedMs = now();
  await Promise.all(queues.map(({ connection }) => connection.close()));
  return { startedMs, endedMs, messages: queues.reduce((sum, { messages }) => sum + messages, 0) };
}

/** Consumes a queue until its last message. */
async function consumeQueue(channel: Channel, queue: string, messages: number): Promise<void> {
  let received = 0;
  await bounded(() => `${received} of ${messages} messages of ${queue} are delivered`, (resolve, reject) => {
    channel.consume(queue, (message) => {
      if (!message) return reject(new Error(`The queue ${queue} was deleted`));
      received++;
      if (received % ACK_EVERY === 0 || received === messages) channel.ack(message, true);
      if (received === messages) resolve();
    }).catch(reject);
  });
}

/** The queues that the events of an order get to, and how many of them each gets. */
function busyQueues(topology: Topology): { readonly name: string; readonly share: number }[] {
  const types: ReadonlySet<string> = new Set(FLOW_TYPES);
  return Object.values(topology.queues)
    .map(({ name, bindings }) => ({ name, share: bindings.filter((type) => types.has(type)).length }))
    .filter(({ share }) => share > 0);
}

/** A promise with a limit in time, whose error says how far it got. */
async function bounded(
  progress: () => string,
  start: (resolve: () => void, reject: (error: unknown) => void) => void,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => reject(new Error(`After ${LIMIT_MS} ms only ${progress()}`)), LIMIT_MS);
  start(resolve, reject);
  await promise.finally(() => clearTimeout(timer));
}

function now(): number {
  return performance.timeOrigin + performance.now();
}

const flagsSchema = z.object({
  role: z.enum(["publish", "consume"]),
  broker: z.string(),
  /** The names of exchange and queues, as variables in JSON. */
  names: z.string().transform((text): unknown => JSON.parse(text)).pipe(z.record(z.string(), z.string())),
  orders: z.coerce.number().int().min(1),
});

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      role: { type: "string" },
      broker: { type: "string" },
      names: { type: "string" },
      orders: { type: "string" },
    },
  });
  const { role, broker, names, orders } = flagsSchema.parse(values);
  const topology = topologyOf(
    readConfig(TOPOLOGY_VARIABLES, (name) => new Map(Object.entries(names)).get(name)),
  );
  const run = role === "publish" ? publish : consume;
  console.log(JSON.stringify(await run({ broker, topology, orders })));
}
