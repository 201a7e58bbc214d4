/**
 * The machine's parts by their names: which process, table and broker's queue belong to a key of the topology.
 *
 * @module
 */
import { QUEUE_KEYS, type QueueKey, QUEUES } from "../shared/topology.ts";
import type { LivePulse } from "../shared/ops/live.ts";

/** The names of the consumers, which are their queues'. */
export const CONSUMER_NAMES: readonly string[] = Object.values(QUEUES).map(({ name }) => name);

/** The name under which a queue's worker sends its heartbeats: `paymentsOrderCreated` is `payments-order-created`. */
export function processNameOf(key: QueueKey): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The table that a queue's consumer keeps its state in. */
export function tableOf(key: QueueKey): string {
  return QUEUES[key].name.split(".")[0] ?? "";
}

/** The broker's figures of a queue; undefined where it knows none. A renamed queue is found by its place. */
export function queueOf(
  { queues }: LivePulse,
  key: QueueKey,
): { queue: string; messages: number; consumers: number } | undefined {
  const isRenamed = queues?.length === QUEUE_KEYS.length;
  return queues?.find(({ queue }) => queue === QUEUES[key].name) ??
    (isRenamed ? queues?.[QUEUE_KEYS.indexOf(key)] : undefined);
}
