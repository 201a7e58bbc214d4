/**
 * Load on `POST /orders` that goes on whatever happens: a client that repeats its request under the same
 * `Idempotency-Key` until it has an answer.
 *
 * @module
 */
import { z } from "zod";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { pause } from "../../shared/process/stop.ts";

/** How an order is meant to go, which its course decides. */
export type Course = keyof typeof RESERVED_COURSES;

/** Of ten orders eight succeed, one is declined, and one finds no seat. Pure. */
export function courseOf(n: number): Course {
  return n % 10 === 8 ? "paymentFailure" : n % 10 === 9 ? "enrollmentFailure" : "success";
}

/** Of so many orders one has its first answer thrown away, as if it had been lost on the way to the client. */
const LOSE_ANSWER_EVERY = 20;

/** What the client knows when it is through. */
export interface LoadResult {
  /** The id of every order that it has an answer for, with its course. */
  readonly accepted: ReadonlyMap<string, Course>;
  /** Answers that named an order which another request had been told of already. */
  readonly answeredTwice: number;
  /** Requests that it gave up on, which is to be 0. */
  readonly unanswered: number;
  /** Repeats by their reason: a status, `no answer`, or `answer lost`. */
  readonly repeats: Readonly<Record<string, number>>;
  /** How long it took, in seconds. */
  readonly seconds: number;
}

/** How much load, and who is told of it. */
export interface LoadOptions {
  /** How many orders. */
  readonly orders: number;
  /** How many connections, each with one request at a time. */
  readonly connections: number;
  /** Called after each accepted order with their number so far. */
  readonly onAccepted: (count: number) => void;
  /** Awaited before each order: holds the load back while faults wait for their turn. */
  readonly gate: () => Promise<void>;
  /** Aborted when the run is to end before its time. */
  readonly stop: AbortSignal;
}

const ANSWER_MS = 15_000;
/** Longer than all outages of a run that fall together. */
const GIVE_UP_MS = 120_000;
const [REPEAT_MIN_MS, REPEAT_MAX_MS] = [50, 500];

const answerSchema = z.object({ id: z.string() });

/** Creates the orders. Never rejects for what the API does. */
export async function keepOrdering(url: string, options: LoadOptions): Promise<LoadResult> {
  const { orders, connections, onAccepted, gate, stop } = options;
  const accepted = new Map<string, Course>();
  const repeats: Record<string, number> = {};
  let [next, answeredTwice, unanswered] = [0, 0, 0];
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: connections }, async () => {
    using client = Deno.createHttpClient({ poolMaxIdlePerHost: 1 });
    while (next < orders) {
      await gate();
      if (next >= orders || stop.aborted) return;
      const losesAnswer = next % LOSE_ANSWER_EVERY === 0;
      const course = courseOf(next++);
      const id = await order(
        { url, client, course, losesAnswer, stop },
        (why) => repeats[why] = (repeats[why] ?? 0) + 1,
      );
      if (id === null) unanswered++;
      else if (accepted.has(id)) answeredTwice++;
      else {
        accepted.set(id, course);
        onAccepted(accepted.size);
      }
    }
  }));
  return { accepted, answeredTwice, unanswered, repeats, seconds: (performance.now() - startedAt) / 1000 };
}

interface Request {
  readonly url: string;
  readonly client: Deno.HttpClient;
  readonly course: Course;
  readonly losesAnswer: boolean;
  readonly stop: AbortSignal;
}

/** Orders once, however often it has to ask. Answers with the order's id, or null when it has given up. */
async function order(request: Request, onRepeat: (why: string) => void): Promise<string | null> {
  const { url, client, course, stop } = request;
  const key = crypto.randomUUID();
  const body = JSON.stringify({ userId: SCENARIO_USER, courseId: RESERVED_COURSES[course], amount: "49.90" });
  const until = performance.now() + GIVE_UP_MS;
  let losesAnswer = request.losesAnswer;
  for (let waitMs = REPEAT_MIN_MS; performance.now() < until; waitMs = Math.min(waitMs * 2, REPEAT_MAX_MS)) {
    const { status, text } = await post(url, client, key, body);
    if (status === 201 && !losesAnswer) return answerSchema.parse(JSON.parse(text)).id;
    onRepeat(status === 201 ? "answer lost" : status === 0 ? "no answer" : String(status));
    if (status === 201) losesAnswer = false;
    await pause(waitMs, stop);
    if (stop.aborted) return null;
  }
  return null;
}

/** One request; status 0 for one that the API, or what is left of it, has not answered. */
async function post(url: string, client: Deno.HttpClient, key: string, body: string) {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), ANSWER_MS);
  try {
    const response = await fetch(`${url}/orders`, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": key },
      body,
      client,
      signal: late.signal,
    });
    return { status: response.status, text: await response.text() };
  } catch {
    return { status: 0, text: "" };
  } finally {
    clearTimeout(timer);
  }
}
