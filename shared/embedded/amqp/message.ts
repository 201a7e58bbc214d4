// What a published message is: the memory that it takes, and the deaths that it died.

import { type Field, type FieldTable, withHeaders } from "./bytes.ts";
import type { Content } from "./frames.ts";

/** A published message; queues share it, and it never changes. */
export type Message = Content & {
  readonly exchange: string;
  readonly routingKey: string;
  /** Milliseconds it may wait in a queue, from its `expiration` property. */
  readonly expiration: number | undefined;
  /** How it died so far, the latest death first. Kept here: as in RabbitMQ 4, a client's own `x-death` tells nothing. */
  readonly deaths: readonly Death[];
  readonly firstDeath: Death | undefined;
};

/** Counts the bytes that messages take, and tells when publishers must wait. */
export type MemoryGauge = {
  used: number;
  /** Whether publishers must wait: from above the limit down to 90 % of it, so that it does not flicker. */
  raised: boolean;
  readonly limit: number;
  readonly onChange: () => void;
};

const CLEAR_AT = 0.9;

/** What the objects around a body and its place in a queue take: with these figures the process grows by about what is counted. */
const MESSAGE_OVERHEAD_BYTES = 768 + 256;
/** And the buffer of each piece of the body, one per frame it came in. */
const PIECE_OVERHEAD_BYTES = 384;

/** Charges bytes; a negative number gives them back. */
export function charge(memory: MemoryGauge, bytes: number): void {
  memory.used += bytes;
  const raised = memory.used > memory.limit * (memory.raised ? CLEAR_AT : 1);
  if (raised === memory.raised) return;
  memory.raised = raised;
  memory.onChange();
}

/** What a message's place in a queue is charged, ready or out: in each of several queues, though they share its body. */
export function messageBytes({ properties, body, bodySize }: Message): number {
  return MESSAGE_OVERHEAD_BYTES + properties.byteLength + bodySize + body.length * PIECE_OVERHEAD_BYTES;
}

export type DeathReason = "expired" | "rejected" | "maxlen" | "delivery_limit";

/** All deaths of a message in one queue for one reason; `at`, exchange, key and expiration are those of the first. */
type Death = Pick<Message, "exchange" | "routingKey" | "expiration"> & {
  readonly queue: string;
  readonly reason: DeathReason;
  readonly count: number;
  readonly at: Date;
};

/**
 * The message to publish to `target` after its death in `queue`: the same body and properties, with RabbitMQ's headers of
 * its deaths, and without its expiration, which would kill it again.
 */
export function deadLetter(
  message: Message,
  queue: string,
  reason: DeathReason,
  target: Pick<Message, "exchange" | "routingKey">,
): Message {
  const { exchange, routingKey, expiration } = message;
  const past = message.deaths.find((death) => death.queue === queue && death.reason === reason);
  const latest: Death = past
    ? { ...past, count: past.count + 1 }
    : { queue, reason, count: 1, at: new Date(), exchange, routingKey, expiration };
  const deaths = [latest, ...message.deaths.filter((death) => death !== past)];
  const firstDeath = message.firstDeath ?? latest;
  const headers: FieldTable = new Map<string, Field>([
    ["x-death", deaths.map(deathTable)],
    ...summary("x-first-death", firstDeath),
    ...summary("x-last-death", latest),
  ]);
  const properties = withHeaders(message.properties, headers, { dropExpiration: true });
  return { ...message, ...target, properties, expiration: undefined, deaths, firstDeath };
}

/**
 * Whether dead-lettering into `queue` would close a cycle in which nobody rejected the message: it would circle for ever,
 * and is dropped.
 */
export function isAutomaticCycle(deaths: readonly Death[], queue: string): boolean {
  const last = deaths.findIndex((death) => death.queue === queue);
  return last >= 0 && deaths.slice(0, last + 1).every(({ reason }) => reason !== "rejected");
}

function deathTable({ queue, reason, count, at, exchange, routingKey, expiration }: Death): FieldTable {
  return new Map<string, Field>([
    ["count", count],
    ["reason", reason],
    ["queue", queue],
    ["time", at],
    ["exchange", exchange],
    ["routing-keys", [routingKey]],
    ...(expiration === undefined ? [] : [["original-expiration", String(expiration)] as const]),
  ]);
}

function summary(prefix: string, { exchange, queue, reason }: Death): [string, string][] {
  return Object.entries({ exchange, queue, reason }).map(([name, value]) => [`${prefix}-${name}`, value]);
}
