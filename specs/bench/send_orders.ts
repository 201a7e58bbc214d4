/**
 * Creates orders at any implementation of `POST /orders`: as fast as its connections allow, or at a rate.
 *
 * @module
 */
import process from "node:process";
import { z } from "zod";
import { idSchema } from "../../shared/events.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { openConnection, type SendConnection } from "./send_connection.ts";

/** How much, and how fast. */
export interface SendOptions {
  /** How many orders to create. */
  readonly orders: number;
  /** How many connections, each with one request at a time. */
  readonly connections: number;
  /** Orders per second, due at even distances; unless given, each connection sends on once it has its answer. */
  readonly rate?: number | undefined;
  /** Who follows some of the orders further. */
  readonly sample?: Sample | undefined;
  /** Told after each order how many there are. */
  readonly onCreated?: ((orders: number) => void) | undefined;
}

/** Takes some orders out of many, evenly over time: whoever is slow must be as likely among them as whoever is fast. */
export interface Sample {
  /** Of orders whose times began closer together than this, in milliseconds, one is taken. */
  readonly everyMs: number;
  /** Told of each and of when its time began, by `performance.now()`: when it was sent or, earlier, due. */
  readonly take: (id: string, sinceMs: number) => void;
}

/** What was sent. */
export interface SentOrders {
  /** The ids of the orders. */
  readonly ids: readonly string[];
  /** When the first request was sent, by `performance.now()`. */
  readonly startedMs: number;
  /** From the first request to the last answer, in seconds. */
  readonly seconds: number;
  /** From each request, or from when it was due, to its answer, in milliseconds. */
  readonly latenciesMs: readonly number[];
  /** The longest that a request was sent after it was due, in milliseconds; 0 without a rate. */
  readonly lateMs: number;
  /** The share of one core that this process used meanwhile. */
  readonly cpuShare: number;
}

const CREATED = 201;
const createdSchema = z.object({ id: idSchema });
/** All orders are alike, so the bytes of a request are made once. */
const BODY = JSON.stringify({ userId: SCENARIO_USER, courseId: RESERVED_COURSES.success, amount: "49.90" });

/** When the order number `n` (from 0) is due, in milliseconds after the first. Pure. */
export function dueAfter(n: number, rate: number): number {
  return n * 1000 / rate;
}

/**
 * Creates the orders. At a rate an order's time counts from when it was due, whether or not a connection was free then:
 * what a slow answer holds up is part of the figures.
 *
 * Errors: the first answer that is no 201 with an id, or does not come; two answers with the same id.
 */
export async function sendOrders(url: string, options: SendOptions): Promise<SentOrders> {
  const { orders, connections, rate, sample, onCreated } = options;
  using resources = new DisposableStack();
  const senders = Array.from(
    { length: connections },
    () => resources.use(openConnection(`${url.replace(/\/+$/, "")}/orders`, BODY)),
  );
  const ids = new Set<string>();
  const latenciesMs: number[] = [];
  let next = 0;
  let lateMs = 0;
  let takenMs = -Infinity;
  const cpuBefore = process.cpuUsage();
  const startedMs = performance.now();

  /** When the time of order `n` begins: now or, where a connection was not free in time, before now. */
  async function begin(n: number): Promise<number> {
    if (rate === undefined) return performance.now();
    const dueMs = startedMs + dueAfter(n, rate);
    const waitMs = dueMs - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    const nowMs = performance.now();
    lateMs = Math.max(lateMs, nowMs - dueMs);
    return Math.min(dueMs, nowMs); // a timer may be early by a fraction of a millisecond
  }

  async function work(sender: SendConnection): Promise<void> {
    for (let n = next++; n < orders; n = next++) {
      const sinceMs = await begin(n);
      const isTaken = sample !== undefined && sinceMs >= takenMs + sample.everyMs; // before anyone knows how it goes
      if (isTaken) takenMs = sinceMs;
      const { status, body } = await sender.send();
      latenciesMs.push(performance.now() - sinceMs);
      if (status !== CREATED) throw new Error(`POST ${url}/orders answered ${status}: ${body}`);
      const id = readId(body);
      ids.add(id);
      onCreated?.(ids.size);
      if (isTaken) sample.take(id, sinceMs);
    }
  }

  try {
    await Promise.all(senders.map(work));
  } finally {
    next = orders; // after a failure the others send nothing more
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  if (ids.size < orders) throw new Error(`${orders} answers named only ${ids.size} different orders`);
  return {
    ids: [...ids],
    startedMs,
    seconds,
    latenciesMs,
    lateMs,
    cpuShare: (user + system) / 1e6 / seconds,
  };
}

function readId(body: string): string {
  try {
    return createdSchema.parse(JSON.parse(body)).id;
  } catch (error) {
    throw new Error(`POST /orders answered with no order: ${body.slice(0, 500)}`, { cause: error });
  }
}
