import { type ByteReader, type ByteWriter, notServed, read, readTable, write, writeTable } from "./bytes.ts";

/**
 * Every method that is served, with its ids and its arguments in the order of the wire (AMQP 0-9-1 and RabbitMQ's
 * additions); flags that share an octet are listed from its lowest bit on. Reading, writing and the types follow from it.
 */
const METHODS = {
  "connection.start":
    "10.10 versionMajor:octet versionMinor:octet serverProperties:table mechanisms:longstr locales:longstr",
  "connection.start-ok": "10.11 clientProperties:table mechanism:shortstr response:longstr locale:shortstr",
  "connection.tune": "10.30 channelMax:short frameMax:long heartbeat:short",
  "connection.tune-ok": "10.31 channelMax:short frameMax:long heartbeat:short",
  "connection.open": "10.40 virtualHost:shortstr capabilities:shortstr insist:bits",
  "connection.open-ok": "10.41 knownHosts:shortstr",
  "connection.close": "10.50 replyCode:short replyText:shortstr classId:short methodId:short",
  "connection.close-ok": "10.51",
  "connection.blocked": "10.60 reason:shortstr",
  "connection.unblocked": "10.61",
  "channel.open": "20.10 outOfBand:shortstr",
  "channel.open-ok": "20.11 channelId:longstr",
  "channel.close": "20.40 replyCode:short replyText:shortstr classId:short methodId:short",
  "channel.close-ok": "20.41",
  "exchange.declare":
    "40.10 ticket:short exchange:shortstr type:shortstr passive,durable,autoDelete,internal,noWait:bits arguments:table",
  "exchange.declare-ok": "40.11",
  "exchange.delete": "40.20 ticket:short exchange:shortstr ifUnused,noWait:bits",
  "exchange.delete-ok": "40.21",
  "queue.declare":
    "50.10 ticket:short queue:shortstr passive,durable,exclusive,autoDelete,noWait:bits arguments:table",
  "queue.declare-ok": "50.11 queue:shortstr messageCount:long consumerCount:long",
  "queue.bind":
    "50.20 ticket:short queue:shortstr exchange:shortstr routingKey:shortstr noWait:bits arguments:table",
  "queue.bind-ok": "50.21",
  "queue.purge": "50.30 ticket:short queue:shortstr noWait:bits",
  "queue.purge-ok": "50.31 messageCount:long",
  "queue.delete": "50.40 ticket:short queue:shortstr ifUnused,ifEmpty,noWait:bits",
  "queue.delete-ok": "50.41 messageCount:long",
  "queue.unbind": "50.50 ticket:short queue:shortstr exchange:shortstr routingKey:shortstr arguments:table",
  "queue.unbind-ok": "50.51",
  "basic.qos": "60.10 prefetchSize:long prefetchCount:short global:bits",
  "basic.qos-ok": "60.11",
  "basic.consume":
    "60.20 ticket:short queue:shortstr consumerTag:shortstr noLocal,noAck,exclusive,noWait:bits arguments:table",
  "basic.consume-ok": "60.21 consumerTag:shortstr",
  "basic.cancel": "60.30 consumerTag:shortstr noWait:bits",
  "basic.cancel-ok": "60.31 consumerTag:shortstr",
  "basic.publish": "60.40 ticket:short exchange:shortstr routingKey:shortstr mandatory,immediate:bits",
  "basic.return": "60.50 replyCode:short replyText:shortstr exchange:shortstr routingKey:shortstr",
  "basic.deliver":
    "60.60 consumerTag:shortstr deliveryTag:longlong redelivered:bits exchange:shortstr routingKey:shortstr",
  "basic.get": "60.70 ticket:short queue:shortstr noAck:bits",
  "basic.get-ok":
    "60.71 deliveryTag:longlong redelivered:bits exchange:shortstr routingKey:shortstr messageCount:long",
  "basic.get-empty": "60.72 clusterId:shortstr",
  "basic.ack": "60.80 deliveryTag:longlong multiple:bits",
  "basic.reject": "60.90 deliveryTag:longlong requeue:bits",
  "basic.recover": "60.110 requeue:bits",
  "basic.recover-ok": "60.111",
  "basic.nack": "60.120 deliveryTag:longlong multiple,requeue:bits",
  "confirm.select": "85.10 noWait:bits",
  "confirm.select-ok": "85.11",
} as const;

export type MethodName = keyof typeof METHODS;

const READ = { ...read, table: readTable };
const WRITE = { ...write, table: writeTable };
const EMPTY = { octet: 0, short: 0, long: 0, longlong: 0, shortstr: "", longstr: "", table: new Map() };

type ArgumentType = keyof typeof READ;
type Value<T extends ArgumentType> = ReturnType<(typeof READ)[T]>;
type Flags<List extends string> = List extends `${infer First},${infer Rest}` ? First | Flags<Rest> : List;

/** The arguments that a line of the table lists. */
type Listed<Line extends string> = Line extends `${infer First} ${infer Rest}` ? Listed<First> & Listed<Rest>
  : Line extends `${infer List}:bits` ? { readonly [K in Flags<List>]: boolean }
  : Line extends `${infer Name}:${infer T extends ArgumentType}` ? { readonly [K in Name]: Value<T> }
  : object;

export type MethodArguments<N extends MethodName> = Listed<(typeof METHODS)[N]>;

/** Any method with its arguments, told apart by `name`. */
export type Method = {
  [N in MethodName]: { readonly name: N; readonly args: MethodArguments<N> };
}[MethodName];

/** Class id in the upper, method id in the lower 16 bits of `key`, with which a method begins on the wire. */
const PLANS = Object.entries(METHODS).map(([name, line]) => {
  const [ids = "", ...listed] = line.split(" ");
  const [classId = 0, methodId = 0] = ids.split(".").map(Number);
  const args = listed.map((argument) => {
    const [name = "", type = ""] = argument.split(":");
    return { name, flags: name.split(","), type: type as ArgumentType | "bits" };
  });
  return { name: name as MethodName, key: classId * 0x10000 + methodId, args };
});
const PLANS_BY_NAME = new Map(PLANS.map((plan) => [plan.name, plan]));
const PLANS_BY_KEY = new Map(PLANS.map((plan) => [plan.key, plan]));

/** Reads the payload of a method's frame. Errors: `AmqpError` 540 on a method not served, 502 on malformed arguments. */
export function readMethod(reader: ByteReader): Method {
  const key = read.long(reader);
  const plan = PLANS_BY_KEY.get(key);
  if (!plan) throw notServed(`method ${key >>> 16}.${key & 0xffff}`);
  const args: Record<string, unknown> = {};
  for (const { name, flags, type } of plan.args) {
    if (type !== "bits") {
      args[name] = READ[type](reader);
      continue;
    }
    let bits = read.octet(reader);
    for (const flag of flags) {
      args[flag] = bits % 2 === 1;
      bits >>= 1;
    }
  }
  // Sound: the plan that filled `args` was made from the very table that the type is derived from.
  return { name: plan.name, args } as Method;
}

/** Writes the payload of a method's frame: its ids, then its arguments; what is left out is 0, false or empty. */
export function writeMethod<N extends MethodName>(
  writer: ByteWriter,
  name: N,
  args: Partial<MethodArguments<N>>,
): void {
  const plan = PLANS_BY_NAME.get(name);
  if (!plan) throw new TypeError(`No plan for the method ${name}`);
  const values = args as Readonly<Record<string, unknown>>;
  write.long(writer, plan.key);
  for (const { name, flags, type } of plan.args) {
    if (type === "bits") {
      write.octet(writer, flags.reduce((bits, flag, bit) => values[flag] ? bits | (1 << bit) : bits, 0));
    } else {
      const writeValue = WRITE[type] as (writer: ByteWriter, value: unknown) => void; // typed by `args`
      writeValue(writer, values[name] ?? EMPTY[type]);
    }
  }
}
