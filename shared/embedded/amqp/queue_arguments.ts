import { AmqpError } from "./bytes.ts";
import type { Field, FieldTable } from "./field_table.ts";

/** What a queue's arguments ask for; limits are `Infinity` where none is asked for, times in milliseconds. */
export type QueueArguments = {
  readonly type: "classic" | "quorum";
  readonly messageTtl: number;
  readonly maxLength: number;
  readonly maxLengthBytes: number;
  readonly overflow: "drop-head" | "reject-publish";
  /** How often a message may come back; from then on it is dead-lettered. */
  readonly deliveryLimit: number;
  readonly deadLetterExchange: string | undefined;
  readonly deadLetterRoutingKey: string | undefined;
  /** The arguments by which a second declaration is compared, as they were given; others are ignored, as RabbitMQ does. */
  readonly declared: FieldTable;
};

const SERVED = [
  "x-queue-type",
  "x-message-ttl",
  "x-max-length",
  "x-max-length-bytes",
  "x-overflow",
  "x-delivery-limit",
  "x-dead-letter-exchange",
  "x-dead-letter-routing-key",
];

/** RabbitMQ serves them, and they change what a queue does: to ignore them would deceive. */
const NOT_SERVED = ["x-expires", "x-max-priority", "x-single-active-consumer"];

/** RabbitMQ 4's for quorum queues; negative stands for none. */
const DEFAULT_DELIVERY_LIMIT = 20;

/**
 * Reads the arguments of a queue's declaration.
 *
 * Errors: `AmqpError` 406 on one that is invalid, worded as RabbitMQ does; 540 on one that only RabbitMQ serves.
 */
export function parseQueueArguments(queue: string, table: FieldTable): QueueArguments {
  const refused = NOT_SERVED.find((name) => table.has(name));
  if (refused) throw new AmqpError(540, `queue argument '${refused}' is not served by the embedded broker`);
  const invalid = (name: string, why: string) =>
    new AmqpError(406, `invalid arg '${name}' for queue '${queue}' in vhost '/'${why}`);
  const text = (name: string) => {
    const value = table.get(name);
    if (value === undefined || typeof value === "string") return value;
    throw invalid(name, `: "expected longstr, got ${Deno.inspect(value)}"`);
  };
  const limit = (name: string, least = 0) => {
    const value = table.get(name) ?? Infinity;
    if (value === Infinity) return value;
    if (!Number.isInteger(value)) throw invalid(name, `: "expected integer, got ${Deno.inspect(value)}"`);
    if (Number(value) < least) throw invalid(name, `: {value_negative,${value}}`);
    return Number(value);
  };

  const type = text("x-queue-type") ?? "classic";
  if (type !== "classic" && type !== "quorum") {
    throw invalid("x-queue-type", `: "unsupported queue type '${type}'"`);
  }
  if (type === "classic" && table.has("x-delivery-limit")) {
    throw invalid("x-delivery-limit", " of queue type rabbit_classic_queue");
  }
  const overflow = text("x-overflow") ?? "drop-head";
  if (overflow !== "drop-head" && overflow !== "reject-publish") {
    throw invalid("x-overflow", ": invalid_overflow");
  }
  const deadLetterExchange = text("x-dead-letter-exchange");
  const deadLetterRoutingKey = text("x-dead-letter-routing-key");
  if (deadLetterRoutingKey !== undefined && deadLetterExchange === undefined) {
    throw invalid("x-dead-letter-routing-key", ": routing_key_but_no_dlx_defined");
  }
  const returns = table.has("x-delivery-limit")
    ? limit("x-delivery-limit", -Infinity)
    : DEFAULT_DELIVERY_LIMIT;
  return {
    type,
    messageTtl: limit("x-message-ttl"),
    maxLength: limit("x-max-length"),
    maxLengthBytes: limit("x-max-length-bytes"),
    overflow,
    deliveryLimit: type === "classic" || returns < 0 ? Infinity : returns,
    deadLetterExchange,
    deadLetterRoutingKey,
    declared: new Map([...table].filter(([name]) => SERVED.includes(name)).concat([["x-queue-type", type]])),
  };
}

/** Errors: `AmqpError` 406 unless a declaration's arguments repeat the queue's own. */
export function checkEquivalentArguments(queue: string, current: FieldTable, repeated: FieldTable): void {
  const described = (value: Field | undefined) => value === undefined ? "none" : `'${value}'`;
  for (const name of SERVED) {
    const [was, is] = [described(current.get(name)), described(repeated.get(name))];
    if (was === is) continue;
    throw new AmqpError(
      406,
      `inequivalent arg '${name}' for queue '${queue}' in vhost '/': received ${is} but current is ${was}`,
    );
  }
}
