import { AmqpError } from "./amqp_error.ts";
import type { FieldTable, FieldValue } from "./field_table.ts";

/** What a queue's `x-` arguments ask for; times in milliseconds, `undefined` where not given. */
export type QueueArguments = {
  readonly type: "classic" | "quorum";
  readonly messageTtl: number | undefined;
  readonly expires: number | undefined;
  readonly maxLength: number | undefined;
  readonly maxLengthBytes: number | undefined;
  readonly overflow: "drop-head" | "reject-publish";
  readonly deliveryLimit: number | undefined;
  readonly deadLetterExchange: string | undefined;
  readonly deadLetterRoutingKey: string | undefined;
  /** The known arguments as declared: a second declaration must repeat them. */
  readonly declared: ReadonlyMap<string, FieldValue>;
};

/** Arguments that a second declaration is compared by; others are ignored, as RabbitMQ does. */
const KNOWN = [
  "x-queue-type",
  "x-message-ttl",
  "x-expires",
  "x-max-length",
  "x-max-length-bytes",
  "x-overflow",
  "x-delivery-limit",
  "x-dead-letter-exchange",
  "x-dead-letter-routing-key",
] as const;

/** Known to RabbitMQ, and they change what a queue does: to ignore them would deceive. */
const NOT_SERVED = ["x-max-priority", "x-single-active-consumer"];

const TYPE_NAMES: Readonly<Record<FieldValue["type"], string>> = {
  t: "bool",
  b: "byte",
  B: "unsignedbyte",
  s: "short",
  u: "unsignedshort",
  I: "signedint",
  i: "unsignedint",
  l: "long",
  L: "unsignedlong",
  f: "float",
  d: "double",
  D: "decimal",
  T: "timestamp",
  S: "longstr",
  x: "binary",
  A: "array",
  F: "table",
  V: "void",
};

/**
 * Reads the arguments of a queue's declaration.
 *
 * Throws {@linkcode AmqpError} 406 on one that is invalid, worded as RabbitMQ words it, and 540 on one that
 * RabbitMQ serves and this broker does not.
 */
export function parseQueueArguments(queue: string, table: FieldTable): QueueArguments {
  const given = new Map(table);
  const refused = NOT_SERVED.find((name) => given.has(name));
  if (refused) throw new AmqpError(540, `queue argument '${refused}' is not served by the embedded broker`);
  const invalid = (name: string, why: string) =>
    new AmqpError(406, `invalid arg '${name}' for queue '${queue}' in vhost '/'${why}`);
  const number = (name: string, least = 0) =>
    wholeNumber(given.get(name), least, (why) => invalid(name, `: ${why}`));
  const text = (name: string) => longString(given.get(name), (why) => invalid(name, `: ${why}`));

  const type = text("x-queue-type") ?? "classic";
  if (type !== "classic" && type !== "quorum") {
    throw invalid("x-queue-type", `: "unsupported queue type '${type}'"`);
  }
  if (type === "classic" && given.has("x-delivery-limit")) {
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
  return {
    type,
    messageTtl: number("x-message-ttl"),
    expires: number("x-expires", 1),
    maxLength: number("x-max-length"),
    maxLengthBytes: number("x-max-length-bytes"),
    overflow,
    deliveryLimit: number("x-delivery-limit"),
    deadLetterExchange,
    deadLetterRoutingKey,
    declared: new Map(KNOWN.flatMap((name) => declaredArgument(name, given.get(name)))),
  };
}

/** Throws {@linkcode AmqpError} 406 unless a declaration's arguments repeat the queue's own. */
export function checkEquivalentArguments(
  queue: string,
  current: QueueArguments,
  received: QueueArguments,
): void {
  for (const name of KNOWN) {
    const was = current.declared.get(name);
    const is = received.declared.get(name);
    if (describe(was) === describe(is)) continue;
    const said = was && is
      ? `received '${describe(is)}' but current is '${describe(was)}'`
      : `received ${describeTyped(is)} but current is ${describeTyped(was)}`;
    throw new AmqpError(406, `inequivalent arg '${name}' for queue '${queue}' in vhost '/': ${said}`);
  }
}

/** `x-queue-type: classic` says the same as no type at all. */
function declaredArgument(name: string, value: FieldValue | undefined): [string, FieldValue][] {
  const isDefault = name === "x-queue-type" && value?.type === "S" && value.value === "classic";
  return value === undefined || isDefault ? [] : [[name, value]];
}

function wholeNumber(
  field: FieldValue | undefined,
  least: number,
  invalid: (why: string) => AmqpError,
): number | undefined {
  if (field === undefined) return undefined;
  if (!"bBsuIilL".includes(field.type) || !("value" in field)) {
    throw invalid(`"expected integer, got ${TYPE_NAMES[field.type]}"`);
  }
  const value = Number(field.value);
  if (value < 0) throw invalid(`{value_negative,${value}}`);
  if (value < least) throw invalid(`{value_zero,${value}}`);
  return value;
}

function longString(field: FieldValue | undefined, invalid: (why: string) => AmqpError): string | undefined {
  if (field === undefined) return undefined;
  if (field.type !== "S") throw invalid(`{unacceptable_type,${TYPE_NAMES[field.type]}}`);
  return field.value;
}

function describe(field: FieldValue | undefined): string | undefined {
  return field && "value" in field ? String(field.value) : undefined;
}

function describeTyped(field: FieldValue | undefined): string {
  return field ? `the value '${describe(field)}' of type '${TYPE_NAMES[field.type]}'` : "none";
}
