import type { Content } from "./frames.ts";
import type { Field, FieldTable } from "./field_table.ts";
import { withHeaders } from "./properties.ts";

/** A published message; queues share it, and it never changes apart from its count of references. */
export type Message = Content & {
  readonly exchange: string;
  readonly routingKey: string;
  /** Milliseconds it may wait in a queue, from its `expiration` property. */
  readonly expiration: number | undefined;
  /** How it died so far, the latest death first. Kept here: as in RabbitMQ 4, a client's own `x-death` tells nothing. */
  readonly deaths: readonly Death[];
  readonly firstDeath: Death | undefined;
  /** How many places in queues hold it; its memory is given back at none. */
  references: number;
};

/** Why a message was dead-lettered. */
export type DeathReason = "expired" | "rejected" | "maxlen" | "delivery_limit";

/** All deaths of a message in one queue for one reason; `at`, exchange, key and expiration are those of the first. */
export type Death = {
  readonly queue: string;
  readonly reason: DeathReason;
  readonly count: number;
  readonly at: Date;
  readonly exchange: string;
  readonly routingKey: string;
  readonly expiration: number | undefined;
};

/** Where a message died, and where it goes from there. */
export type Burial = Pick<Death, "queue" | "reason" | "exchange" | "routingKey">;

/**
 * The message to publish to `exchange` after its death in `queue`: the same body and properties, with RabbitMQ's headers of
 * its deaths, and without its expiration, which would kill it again.
 */
export function deadLetter(message: Message, { queue, reason, exchange, routingKey }: Burial): Message {
  const isSame = (past: Death) => past.queue === queue && past.reason === reason;
  const past = message.deaths.find(isSame);
  const { exchange: from, routingKey: key, expiration } = message;
  const latest: Death = past
    ? { ...past, count: past.count + 1 }
    : { queue, reason, count: 1, at: new Date(), exchange: from, routingKey: key, expiration };
  const deaths = [latest, ...message.deaths.filter((death) => death !== past)];
  const firstDeath = message.firstDeath ?? latest;
  const headers: FieldTable = new Map<string, Field>([
    ["x-death", deaths.map(deathTable)],
    ...summary("x-first-death", firstDeath),
    ...summary("x-last-death", latest),
  ]);
  const properties = withHeaders(message.properties, headers, { dropExpiration: true });
  return {
    ...message,
    exchange,
    routingKey,
    properties,
    expiration: undefined,
    deaths,
    firstDeath,
    references: 0,
  };
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
