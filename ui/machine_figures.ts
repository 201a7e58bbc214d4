/**
 * What the diagram of the machine says at each node: figures, and in words what is wrong. Decided from the last few
 * pulses alone, which carry the processes' heartbeats and the broker's own figures.
 *
 * @module
 */
import { QUEUE_KEYS, type QueueKey, QUEUES } from "../shared/topology.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { NodeId } from "./machine_layout.ts";
import { processNameOf, queueOf } from "./machine_parts.ts";
import { counted, formatCount, formatRate, formatSeconds } from "./number_format.ts";
import { grown } from "./pulse_growth.ts";

/** How a node is: fine, to be watched, or broken. */
export type Level = "good" | "warn" | "bad";

/** One figure of a node. */
export interface Figure {
  /** What is counted, such as `duplicates`. */
  readonly label: string;
  /** The figure as people read it. */
  readonly value: string;
  /** How it is to be taken, where it is not neutral. */
  readonly level?: Level;
}

/** What stands at a node. */
export interface NodeFigures {
  /** Which node. */
  readonly id: NodeId;
  /** What it is. */
  readonly kind: string;
  /** Its name. */
  readonly name: string;
  /** How it is. */
  readonly level: Level;
  /** The same in words. */
  readonly status: string;
  /** Its figures, the most telling one first. */
  readonly figures: readonly Figure[];
  /** From 0 to 1, how full a queue is, on a scale of powers of ten up to 100,000; absent elsewhere. */
  readonly fill?: number;
}

/** Pulses over which growth is judged, in milliseconds. */
export const MACHINE_WINDOW_MS = 10_000;
/** A queue that holds fewer messages is not called growing: batches come and go. */
const GROWING_FROM = 20;
/** By how many messages it must have grown within the window. */
const GROWTH = 10;
/** How long the outbox may be behind before that is said, and before it is called bad, in seconds. */
const OUTBOX_LATE = { warn: 10, bad: 60 } as const;

/** What stands at every node. `recent` are the pulses of the last seconds, oldest first, the current one last. */
export function machineFigures(recent: readonly LivePulse[]): NodeFigures[] {
  const pulse = recent.at(-1);
  if (!pulse) return [];
  const { outbox, rates, queues } = pulse;
  const relay = presence(pulse, "outbox-relay");
  const late = outbox.pending === 0 || outbox.oldestSeconds < OUTBOX_LATE.warn
    ? "good"
    : outbox.oldestSeconds < OUTBOX_LATE.bad
    ? "warn"
    : "bad";
  return [
    {
      id: "api",
      kind: "API",
      name: "Hono",
      level: "good",
      status: "answers",
      figures: [{ label: "orders/s", value: formatRate(rates.orders) }],
    },
    {
      id: "outbox",
      kind: "Outbox",
      name: "outbox_events",
      level: late,
      status: outbox.pending === 0 ? "nothing waits" : `oldest ${formatSeconds(outbox.oldestSeconds)}`,
      figures: [{
        label: "pending",
        value: formatCount(outbox.pending),
        ...(late === "good" ? {} : { level: late }),
      }],
    },
    {
      id: "relay",
      kind: "Relay",
      name: "outbox-relay",
      ...relay,
      figures: [{ label: "events/s", value: formatRate(rates.events) }],
    },
    {
      id: "exchange",
      kind: "Exchange",
      name: "orderflow.events",
      level: queues ? "good" : "bad",
      status: queues ? "reachable" : "unreachable",
      figures: [{ label: "queues", value: queues ? String(queues.length) : "?" }],
    },
    ...QUEUE_KEYS.map((key) => queueFigures(recent, pulse, key)),
    ...QUEUE_KEYS.map((key) => consumerFigures(recent, pulse, key)),
    {
      id: "tables",
      kind: "Tables",
      name: "Postgres",
      level: "good",
      status: "answers",
      figures: [{ label: "processed/s", value: formatRate(rates.processed) }],
    },
  ];
}

function queueFigures(recent: readonly LivePulse[], pulse: LivePulse, key: QueueKey): NodeFigures {
  const about = {
    id: `queue:${key}`,
    kind: "Queue",
    name: queueOf(pulse, key)?.queue ?? QUEUES[key].name,
  } as const;
  const queue = queueOf(pulse, key);
  if (!queue) {
    const status = pulse.queues ? "not declared" : "broker unreachable";
    return { ...about, level: "bad", status, figures: [{ label: "waiting", value: "?" }] };
  }
  const { messages, consumers } = queue;
  const isGrowing = grows(recent.flatMap((past) => queueOf(past, key)?.messages ?? []));
  const level = consumers === 0 ? "bad" : isGrowing ? "warn" : "good";
  const waiting = formatCount(messages);
  return {
    ...about,
    level,
    status: consumers === 0
      ? isGrowing ? "no consumer, growing" : "no consumer"
      : isGrowing
      ? `growing: ${waiting}`
      : messages === 0
      ? "empty"
      : counted(consumers, "consumer"),
    figures: [{ label: "waiting", value: waiting, ...(level === "good" ? {} : { level }) }],
    fill: Math.min(1, Math.log10(messages + 1) / 5),
  };
}

/** Whether depths, oldest first, rise: by some messages, and the later half lies above all of the earlier. */
function grows(depths: readonly number[]): boolean {
  const [first, last] = [depths[0] ?? 0, depths.at(-1) ?? 0];
  if (depths.length < 3 || last < GROWING_FROM || last < first + GROWTH) return false;
  const half = Math.floor(depths.length / 2);
  return Math.min(...depths.slice(half)) >= Math.max(...depths.slice(0, half));
}

function consumerFigures(recent: readonly LivePulse[], pulse: LivePulse, key: QueueKey): NodeFigures {
  const name = processNameOf(key);
  const queue = queueOf(pulse, key);
  const consumer = queue?.queue ?? QUEUES[key].name;
  const copies = pulse.processes.filter((process) => process.name === name && !process.isStale);
  const isDeaf = copies.length > 0 && queue?.consumers === 0;
  const sum = (counter: string) => copies.reduce((total, { counts }) => total + (counts[counter] ?? 0), 0);
  const [retries, letters] = [pulse.retries[consumer] ?? 0, pulse.deadLetters[consumer] ?? 0];
  return {
    id: `consumer:${key}`,
    kind: "Consumer",
    name,
    ...isDeaf ? { level: "warn", status: "up, not subscribed" } as const : presence(pulse, name),
    figures: [
      { label: "processed/s", value: formatRate(ratePerSecond(recent, name)) },
      { label: "processed", value: formatCount(sum("processed")) },
      { label: "duplicates", value: formatCount(sum("duplicates")) },
      { label: "retries waiting", value: formatCount(retries), ...(retries > 0 ? { level: "warn" } : {}) },
      { label: "dead letters", value: formatCount(letters), ...(letters > 0 ? { level: "bad" } : {}) },
    ],
  };
}

/** Whether copies of a process run, by their heartbeats. */
function presence(pulse: LivePulse, name: string): { level: Level; status: string } {
  const copies = pulse.processes.filter((process) => process.name === name);
  const fresh = copies.filter(({ isStale }) => !isStale);
  if (fresh.length > 0) return { level: "good", status: `${fresh.length} up` };
  const last = copies.map(({ seenAt }) => Date.parse(seenAt)).sort((a, b) => b - a)[0];
  if (last === undefined) return { level: "bad", status: "not running" };
  const seconds = Math.max(0, (Date.parse(pulse.at) - last) / 1000);
  return { level: "bad", status: `silent for ${formatSeconds(seconds)}` };
}

function ratePerSecond(recent: readonly LivePulse[], name: string): number {
  const [first, last] = [recent[0], recent.at(-1)];
  if (!first || !last || first === last) return 0;
  const seconds = (Date.parse(last.at) - Date.parse(first.at)) / 1000;
  return seconds > 0 ? grown(first, last, name, "processed") / seconds : 0;
}

/** What needs somebody's attention, in a few words for each node; empty while all is well. */
export function attention(nodes: readonly NodeFigures[]): string[] {
  const isBrokerAway = nodes.some(({ id, level }) => id === "exchange" && level === "bad");
  const wrong = nodes.filter(({ id, level }) =>
    level !== "good" && !(isBrokerAway && (id === "exchange" || id.startsWith("queue:")))
  );
  return [
    ...(isBrokerAway ? ["The broker cannot be reached"] : []),
    ...wrong.map((node) =>
      `${node.id.includes(":") ? `${node.kind} ${node.name}` : node.kind}: ${node.status}`
    ),
  ];
}
