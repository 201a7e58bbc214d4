/**
 * Reads what the live stream says. `shared/ops/live.ts` holds the shape for the server; the schema here is its image in
 * zod/mini, which a test holds to it.
 *
 * @module
 */
import * as z from "zod/mini";
import type { LivePulse } from "../shared/ops/live.ts";
import { opsOrderSchema } from "../shared/ops/answers.ts";

const count = z.number().check(z.nonnegative());
const text = z.nullable(z.string());

const pulseSchema = z.object({
  at: z.string(),
  orders: z.array(opsOrderSchema),
  outbox: z.object({ pending: count, oldestSeconds: count }),
  queues: z.nullable(z.array(z.object({ queue: z.string(), messages: count, consumers: count }))),
  processes: z.array(z.object({
    name: z.string(),
    instance: z.string(),
    pid: count,
    host: z.string(),
    version: z.string(),
    startedAt: z.string(),
    seenAt: z.string(),
    isStale: z.boolean(),
    counts: z.record(z.string(), count),
    lastBatchAt: text,
  })),
  deadLetters: z.record(z.string(), count),
  retries: z.record(z.string(), count),
  rates: z.object({ orders: count, events: count, processed: count }),
  latency: z.object({ p50: z.nullable(count), p99: z.nullable(count) }),
});

/** The pulse that one message of the stream carries; null where it is none, which a newer server's may be. */
export function parsePulse(data: string): LivePulse | null {
  try {
    return z.safeParse(pulseSchema, JSON.parse(data)).data ?? null;
  } catch {
    return null;
  }
}
