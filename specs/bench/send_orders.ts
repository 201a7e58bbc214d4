// Creates orders at any implementation of `POST /orders`, as fast as its connections allow or at a rate, and as cheaply
// as one process can.
//
// Measured against a `Deno.serve` in another process, 16 connections, on a machine with two cores, processor time of the
// client per request: `fetch` 119 to 146 µs, `node:http` with a keep-alive agent 124 to 133 µs, undici 89 to 94 µs,
// this 27 to 31 µs. With any of the others the generator would take as much of the machine as what it measures. So there
// is the little of HTTP/1.1 here that reading the answer to `POST /orders` takes: a status line, a body by
// `content-length`, and whether the connection can go on.

import { Buffer } from "node:buffer";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { idSchema } from "../../shared/events.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";

interface SendOptions {
  readonly orders: number;
  /** Connections, each with one request at a time. */
  readonly connections: number;
  /** Orders per second, due at even distances; without it each connection sends on once it has its answer. */
  readonly rate?: number | undefined;
  /** Told after each order how many there are. */
  readonly onCreated?: ((orders: number) => void) | undefined;
}

export type SentOrders = Awaited<ReturnType<typeof sendOrders>>;

const createdSchema = z.object({ id: idSchema });
/** All orders are alike, so the bytes of a request are made once. */
const BODY = JSON.stringify({ userId: SCENARIO_USER, courseId: RESERVED_COURSES.success, amount: "49.90" });

/** When the order number `n` (from 0) is due, in milliseconds after the first. */
export const dueAfter = (n: number, rate: number): number => n * 1000 / rate;

/**
 * Creates the orders. At a rate an order's time counts from when it was due, whether or not a connection was free then:
 * what a slow answer holds up is part of the figures.
 *
 * Errors: the first answer that is no 201 with an id, or does not come; two answers with the same id.
 */
export async function sendOrders(url: string, options: SendOptions) {
  const { orders, connections, rate, onCreated } = options;
  using resources = new DisposableStack();
  const target = `${url.replace(/\/+$/, "")}/orders`;
  const senders = Array.from({ length: connections }, () => resources.use(openConnection(target, BODY)));
  /** When each order's time began, by its id, in milliseconds since 1970: when it was sent or, earlier, due. */
  const sinceMs = new Map<string, number>();
  /** From each request, or from when it was due, to its answer. */
  const latenciesMs: number[] = [];
  /** The longest that a request was sent after it was due; 0 without a rate. */
  let lateMs = 0;
  let next = 0;
  const cpuBefore = process.cpuUsage();
  const startedMs = performance.now();

  /** When the time of order `n` begins: now or, where a connection was not free in time, before now. */
  async function begin(n: number): Promise<number> {
    if (rate === undefined) return performance.now();
    const dueMs = startedMs + dueAfter(n, rate);
    const waitMs = dueMs - performance.now();
    if (waitMs > 0) await delay(waitMs);
    const nowMs = performance.now();
    lateMs = Math.max(lateMs, nowMs - dueMs);
    return Math.min(dueMs, nowMs); // a timer may be early by a fraction of a millisecond
  }

  async function work(sender: ReturnType<typeof openConnection>): Promise<void> {
    for (let n = next++; n < orders; n = next++) {
      const begunMs = await begin(n);
      const { status, body } = await sender.send();
      latenciesMs.push(performance.now() - begunMs);
      if (status !== 201) throw new Error(`POST ${url}/orders answered ${status}: ${body}`);
      sinceMs.set(readId(body), performance.timeOrigin + begunMs);
      onCreated?.(sinceMs.size);
    }
  }

  try {
    await Promise.all(senders.map(work));
  } finally {
    next = orders; // after a failure the others send nothing more
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  if (sinceMs.size < orders) throw new Error(`${orders} answers named only ${sinceMs.size} different orders`);
  /** The share of one core that this process used, from the first request to the last answer. */
  const cpuShare = (user + system) / 1e6 / seconds;
  return { sinceMs, seconds, latenciesMs, lateMs, cpuShare };
}

function readId(body: string): string {
  try {
    return createdSchema.parse(JSON.parse(body)).id;
  } catch (error) {
    throw new Error(`POST /orders answered with no order: ${body.slice(0, 500)}`, { cause: error });
  }
}

/** The largest answer, with its head. */
const MAX_ANSWER = 64 * 1024;
/** Servers close what is idle, most after 5 s or more: rather than meet that moment, a new connection is made. */
const FRESH_MS = 2000;

/**
 * Makes a connection that posts `body`, which is JSON, to `url`, one request at a time. It connects when it is first used;
 * disposing of it closes it, and a request under way fails. An answer may take `answerMs` milliseconds.
 *
 * Errors: when `url` is not an `http:` one.
 */
export function openConnection(url: string, body: string, answerMs = 30_000) {
  const { protocol, hostname, port, host, pathname } = new URL(url);
  if (protocol !== "http:") throw new Error(`Cannot send to ${url}: give an http:// URL`);
  const address = { hostname: hostname.replace(/^\[|\]$/g, ""), port: Number(port || 80) };
  const head = `POST ${pathname} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\n`;
  const request = Buffer.from(`${head}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  const buffer = new Uint8Array(MAX_ANSWER);
  let connection: Deno.TcpConn | undefined;
  let usedMs = 0;
  let busySinceMs: number | undefined;
  let stop = new AbortController();
  let late = false;

  // One timer for all requests of the connection: one for each would cost as much as the request.
  const watchdog = setInterval(() => {
    if (busySinceMs === undefined || performance.now() - busySinceMs < answerMs) return;
    late = true;
    close();
  }, Math.min(answerMs, 1000));

  function close(): void {
    stop.abort();
    connection?.close();
    connection = undefined;
  }

  async function connected(): Promise<Deno.TcpConn> {
    if (connection && performance.now() - usedMs > FRESH_MS) close();
    if (connection) return connection;
    stop = new AbortController();
    const { signal } = stop;
    const opened = await Deno.connect({ ...address, signal });
    if (signal.aborted) { // closed at the very moment that it opened
      opened.close();
      throw new Error("the connection was closed");
    }
    opened.setNoDelay(true);
    return connection = opened;
  }

  async function exchange() {
    const to = await connected();
    for (let sent = 0; sent < request.length;) sent += await to.write(request.subarray(sent));
    for (let filled = 0;;) {
      if (filled === buffer.length) throw new Error(`the answer is larger than ${MAX_ANSWER} bytes`);
      const count = await to.read(buffer.subarray(filled));
      if (count === null) throw new Error(`the connection ended after ${filled} bytes of the answer`);
      filled += count;
      const answer = parseAnswer(buffer.subarray(0, filled));
      if (answer) return answer;
    }
  }

  return {
    /**
     * Sends the request, and answers with its answer, whatever the status.
     *
     * Errors: when the server cannot be reached, closes before it has answered, takes too long or answers with what is no
     * HTTP.
     */
    async send() {
      busySinceMs = performance.now();
      try {
        const answer = await exchange();
        if (answer.closes) close();
        return answer;
      } catch (error) {
        close();
        const why = late ? `there was no answer within ${answerMs / 1000} s` : messageOf(error);
        throw new Error(`POST ${url} failed: ${why}`, { cause: error });
      } finally {
        usedMs = performance.now();
        busySinceMs = undefined;
      }
    },
    [Symbol.dispose]() {
      clearInterval(watchdog);
      close();
    },
  };
}

const utf8 = new TextDecoder();
const oneByteEach = new TextDecoder("latin1");

/**
 * The answer that `bytes` hold, and whether the server closes the connection behind it; null while it is not all there.
 * Pure.
 *
 * Errors: when they begin no answer, when its length is missing or ambiguous (bodies in chunks are not read), and when
 * bytes follow that nobody asked for.
 */
export function parseAnswer(bytes: Uint8Array) {
  const text = oneByteEach.decode(bytes);
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd < 0) return null;
  const head = text.slice(0, headEnd + 2);
  const header = (line: RegExp) => [...head.matchAll(line)].map(([, value = ""]) => value.trim()).join(", ");
  const status = Number(/^HTTP\/1\.1 ([2-5]\d\d)[ \r]/.exec(head)?.[1]);
  if (!status) {
    const line = JSON.stringify(head.split("\r\n", 1).join().slice(0, 100));
    throw new Error(`${line} is no status line of an HTTP/1.1 answer`);
  }
  const coding = header(/\r\ntransfer-encoding:([^\r]*)/gi);
  const length = header(/\r\ncontent-length:([^\r]*)/gi);
  if (coding !== "" || !/^\d{1,9}$/.test(length)) {
    throw new Error(
      `the answer's length is unclear: transfer-encoding "${coding}", content-length "${length}"`,
    );
  }
  const start = headEnd + 4;
  const end = start + Number(length);
  if (end > bytes.length) return null;
  if (end < bytes.length) throw new Error(`${bytes.length - end} bytes follow the answer`);
  const closes = /\bclose\b/i.test(header(/\r\nconnection:([^\r]*)/gi));
  return { status, body: utf8.decode(bytes.subarray(start, end)), closes };
}
