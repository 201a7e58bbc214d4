// Load on `POST /orders`, from this process: by a client that fails with the first wrong answer, or by one that repeats
// until it has one.

import { z } from "zod";
import { pause } from "../../shared/process/stop.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";

/** How an order is meant to go, which its course decides. */
export type Course = keyof typeof RESERVED_COURSES;

/** Of ten orders eight succeed, one is declined, and one finds no seat. */
export function mixedCourse(n: number): Course {
  return n % 10 === 8 ? "paymentFailure" : n % 10 === 9 ? "enrollmentFailure" : "success";
}

const orderOf = (course: Course) =>
  JSON.stringify({ userId: SCENARIO_USER, courseId: RESERVED_COURSES[course], amount: "49.90" });
const JSON_TYPE = { "content-type": "application/json" };

export interface LoadOptions {
  readonly orders: number;
  readonly connections: number;
  /** How order number `n` is to go; all succeed by default. */
  readonly courseOf?: (n: number) => Course;
}

/** Creates orders over so many connections. Errors: when an answer is no 201. */
export async function placeOrders(url: string, options: LoadOptions): Promise<void> {
  const { orders, connections, courseOf = () => "success" } = options;
  let next = 0;
  await Promise.all(Array.from({ length: connections }, async () => {
    using client = Deno.createHttpClient({ poolMaxIdlePerHost: 1 });
    while (next < orders) {
      const body = orderOf(courseOf(next++));
      const response = await fetch(`${url}/orders`, { method: "POST", headers: JSON_TYPE, body, client });
      const text = await response.text();
      if (response.status !== 201) throw new Error(`POST /orders answered ${response.status}: ${text}`);
    }
  }));
}

interface KeepOptions extends Omit<LoadOptions, "courseOf"> {
  /** Called after each order with the number of those accepted so far. */
  readonly onAccepted?: (count: number) => void;
  /** Awaited before each order: holds the load back while something else waits for its turn. */
  readonly gate: () => Promise<void>;
  /** Aborted when the run is to end before its time. */
  readonly stop: AbortSignal;
}

/** Of so many orders one has its first answer thrown away, as if it had been lost on the way to the client. */
const LOSE_ANSWER_EVERY = 20;
/** Longer than all outages of a run that fall together. */
const ANSWERED_MS = 120_000;
const [REPEAT_MIN_MS, REPEAT_MAX_MS] = [50, 500];
const REQUEST_MS = 15_000;

const answerSchema = z.object({ id: z.string() });

export type KeptOrders = Awaited<ReturnType<typeof keepOrdering>>;

/**
 * Creates orders of mixed courses whatever happens: each request is repeated under its `Idempotency-Key` until it has an
 * answer. Never rejects for what the API does.
 */
export async function keepOrdering(url: string, options: KeepOptions) {
  const { orders, connections, onAccepted, gate, stop } = options;
  const accepted = new Map<string, Course>();
  const repeats: Record<string, number> = {};
  let [next, answeredTwice, unanswered] = [0, 0, 0];
  const startedAt = performance.now();

  /** Orders once, however often it has to ask; answers with the order's id, or null when it has given up. */
  async function order(
    client: Deno.HttpClient,
    course: Course,
    losesAnswer: boolean,
  ): Promise<string | null> {
    const headers = { ...JSON_TYPE, "idempotency-key": crypto.randomUUID() };
    const until = performance.now() + ANSWERED_MS;
    for (let waitMs = REPEAT_MIN_MS; performance.now() < until && !stop.aborted;) {
      const { status, text } = await post(`${url}/orders`, { client, headers, body: orderOf(course) });
      if (status === 201 && !losesAnswer) return answerSchema.parse(JSON.parse(text)).id;
      const why = status === 201 ? "answer lost" : status === 0 ? "no answer" : String(status);
      repeats[why] = (repeats[why] ?? 0) + 1;
      if (status === 201) losesAnswer = false;
      await pause(waitMs, stop);
      waitMs = Math.min(waitMs * 2, REPEAT_MAX_MS);
    }
    return null;
  }

  await Promise.all(Array.from({ length: connections }, async () => {
    using client = Deno.createHttpClient({ poolMaxIdlePerHost: 1 });
    while (next < orders) {
      await gate();
      if (next >= orders || stop.aborted) return;
      const course = mixedCourse(next);
      const id = await order(client, course, next++ % LOSE_ANSWER_EVERY === 0);
      if (id === null) unanswered++;
      else if (accepted.has(id)) answeredTwice++;
      else accepted.set(id, course);
      onAccepted?.(accepted.size);
    }
  }));
  return {
    /** The id of every order that the client has an answer for, with its course. */
    accepted,
    /** Answers that named an order which another request had been told of already. */
    answeredTwice,
    unanswered,
    /** Repeats by their reason: a status, `no answer`, or `answer lost`. */
    repeats,
    seconds: (performance.now() - startedAt) / 1000,
  };
}

/** One request; status 0 for one that the API, or what is left of it, has not answered. */
async function post(url: string, init: RequestInit & { readonly client: Deno.HttpClient }) {
  try {
    const response = await fetch(url, { method: "POST", signal: AbortSignal.timeout(REQUEST_MS), ...init });
    return { status: response.status, text: await response.text() };
  } catch {
    return { status: 0, text: "" };
  }
}
