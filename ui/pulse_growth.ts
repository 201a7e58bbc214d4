/**
 * What has happened between two pulses: how much each counter has grown, and which messages have moved where.
 *
 * @module
 */
import { QUEUE_KEYS, type QueueKey } from "../shared/topology.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { EdgeId } from "./machine_layout.ts";
import { processNameOf, queueOf } from "./machine_parts.ts";

/** By how much a counter of all copies of a process has grown. A copy that has started since counts in full. */
export function grown(before: LivePulse, after: LivePulse, name: string, counter: string): number {
  return after.processes.filter((copy) => copy.name === name).reduce((sum, copy) => {
    const now = copy.counts[counter] ?? 0;
    const then = before.processes.find(({ instance }) => instance === copy.instance);
    if (then) return sum + Math.max(0, now - (then.counts[counter] ?? 0));
    return Date.parse(copy.startedAt) >= Date.parse(before.at) ? sum + now : sum;
  }, 0);
}

/** How many messages have gone along each edge between two pulses; edges without any are left out. */
export function movements(before: LivePulse, after: LivePulse): Map<EdgeId, number> {
  const placed = grown(before, after, "api", "orders");
  const published = grown(before, after, "outbox-relay", "published");
  const appended = Math.max(0, published + after.outbox.pending - before.outbox.pending);
  const moved: [EdgeId, number][] = [
    ["api-outbox", placed],
    ["outbox-relay", published],
    ["relay-exchange", published],
    ["tables-outbox", Math.max(0, appended - placed)],
    ...QUEUE_KEYS.flatMap((key) => queueMovements(before, after, key)),
  ];
  return new Map(moved.filter(([, count]) => count > 0));
}

function queueMovements(before: LivePulse, after: LivePulse, key: QueueKey): [EdgeId, number][] {
  const name = processNameOf(key);
  const count = (counter: string) => grown(before, after, name, counter);
  const processed = count("processed");
  const taken = processed + count("duplicates") + count("retries") + count("deadLetters");
  const deeper = (queueOf(after, key)?.messages ?? 0) - (queueOf(before, key)?.messages ?? 0);
  return [
    [`exchange-queue:${key}`, Math.max(0, taken + deeper)],
    [`queue-consumer:${key}`, taken],
    [`consumer-tables:${key}`, processed],
  ];
}
