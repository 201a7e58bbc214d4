/**
 * Load on `POST /orders`, from this process.
 *
 * @module
 */
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";

/** What the load came to. */
export interface Load {
  /** How many orders were created. */
  readonly orders: number;
  /** Orders created per second, over the whole run. */
  readonly perSecond: number;
  /** Latencies of the requests, in milliseconds. */
  readonly p50: number;
  /** Of 100 requests 99 took no longer than this, in milliseconds. */
  readonly p99: number;
}

/** How much, and of what. */
export interface LoadOptions {
  /** How many orders to create. */
  readonly orders: number;
  /** How many connections to use, which is how many requests are under way at once. */
  readonly connections: number;
  /** The course of the order number `n`; all succeed unless told. */
  readonly courseOf?: (n: number) => string;
}

/**
 * Creates orders over so many connections, one request at a time on each.
 *
 * Errors: when an answer is no 201.
 */
export async function placeOrders(url: string, options: LoadOptions): Promise<Load> {
  const { orders, connections, courseOf = () => RESERVED_COURSES.success } = options;
  const latencies: number[] = [];
  let next = 0;
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: connections }, async () => {
    using client = Deno.createHttpClient({ poolMaxIdlePerHost: 1 });
    while (next < orders) {
      const body = JSON.stringify({ userId: SCENARIO_USER, courseId: courseOf(next++), amount: "49.90" });
      const sentAt = performance.now();
      const response = await fetch(`${url}/orders`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
        client,
      });
      const text = await response.text();
      if (response.status !== 201) throw new Error(`POST /orders answered ${response.status}: ${text}`);
      latencies.push(performance.now() - sentAt);
    }
  }));
  const seconds = (performance.now() - startedAt) / 1000;
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? 0;
  return { orders, perSecond: orders / seconds, p50: at(0.5), p99: at(0.99) };
}
