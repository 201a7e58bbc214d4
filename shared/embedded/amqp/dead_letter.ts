import { readHeaders, withHeaders, withoutExpiration } from "./content_properties.ts";
import { type FieldTable, type FieldValue, rawFieldValue, tableValue } from "./field_table.ts";
import type { Message } from "./message.ts";
import type { DeathReason } from "./queue.ts";

/** How and where a message died. */
export type Death = {
  readonly queue: string;
  readonly reason: DeathReason;
  /** Unix time in seconds. */
  readonly at: number;
};

/** A message on its way to a dead-letter exchange, with its history, latest death first. */
export type DeadLetter = { readonly message: Message; readonly deaths: readonly FieldTable[] };

/**
 * The message to publish to `exchange` after `death`: the same body and properties, with `x-death` and the
 * `x-first-death-*` headers added, and without the expiration, which would kill it again (RabbitMQ, "Dead
 * Letter Exchanges").
 */
export function deadLetterMessage(
  message: Message,
  death: Death,
  exchange: string,
  routingKey: string,
): DeadLetter {
  const { properties, expiration } = withoutExpiration(message.properties);
  const headers = new Map(readHeaders(properties).map((field) => [field.name, field]));
  const history = headers.get("x-death");
  const deaths = recordDeath(history ? readDeaths(rawFieldValue(history)) : [], death, message, expiration);
  const added = new Map<string, FieldValue>([
    ["x-death", { type: "A", value: deaths.map((value) => ({ type: "F", value })) }],
  ]);
  if (!headers.has("x-first-death-reason")) {
    added.set("x-first-death-exchange", text(message.exchange));
    added.set("x-first-death-queue", text(death.queue));
    added.set("x-first-death-reason", text(death.reason));
  }
  return {
    message: {
      exchange,
      routingKey,
      properties: withHeaders(properties, added),
      body: message.body,
      bodySize: message.bodySize,
      expiration: undefined,
      references: 0,
    },
    deaths,
  };
}

/**
 * Whether dead-lettering into `queue` would close a cycle that nobody rejected a message in: such a message would
 * circle for ever, and is dropped.
 */
export function isAutomaticCycle(deaths: readonly FieldTable[], queue: string): boolean {
  const last = deaths.findIndex((death) => textOf(death, "queue") === queue);
  return last >= 0 && deaths.slice(0, last + 1).every((death) => textOf(death, "reason") !== "rejected");
}

/** A death in the same queue for the same reason is counted in its first record, which moves to the front. */
function recordDeath(
  deaths: readonly FieldTable[],
  death: Death,
  message: Message,
  expiration: string | undefined,
): FieldTable[] {
  const isSame = (past: FieldTable) =>
    textOf(past, "queue") === death.queue && textOf(past, "reason") === death.reason;
  const same = deaths.find(isSame);
  const others = deaths.filter((past) => past !== same);
  if (same) {
    return [
      same.map(([name, value]) => [name, name === "count" ? incremented(value) : value] as const),
      ...others,
    ];
  }
  const record: [string, FieldValue][] = [
    ["count", { type: "l", value: 1n }],
    ["reason", text(death.reason)],
    ["queue", text(death.queue)],
    ["time", { type: "T", value: BigInt(death.at) }],
    ["exchange", text(message.exchange)],
    ["routing-keys", { type: "A", value: [text(message.routingKey)] }],
  ];
  if (expiration !== undefined) record.push(["original-expiration", text(expiration)]);
  return [record, ...others];
}

function readDeaths(field: FieldValue): FieldTable[] {
  return field.type === "A" ? field.value.flatMap((item) => item.type === "F" ? [item.value] : []) : [];
}

/** A client that sends a dead letter on may have encoded the count in another integer type. */
function incremented(count: FieldValue): FieldValue {
  const value = "value" in count ? Number(count.value) : 0;
  return { type: "l", value: BigInt(Number.isSafeInteger(value) ? value + 1 : 1) };
}

function text(value: string): FieldValue {
  return { type: "S", value };
}

function textOf(table: FieldTable, name: string): string | undefined {
  const field = tableValue(table, name);
  return field?.type === "S" ? field.value : undefined;
}
