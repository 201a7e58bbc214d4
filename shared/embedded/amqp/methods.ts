import { type ByteReader, type ByteWriter, notServed, read, readTable, write, writeTable } from "./bytes.ts";

/**
 * Every method that is served, with its ids and its arguments in the order of the wire (AMQP 0-9-1 and RabbitMQ's
 * additions). Reading, writing and the types below follow from it.
 */
const METHODS = {
  "connection.start":
    "10.10 versionMajor:octet versionMinor:octet serverProperties:table mechanisms:longstr locales:longstr",
  "connection.start-ok": "10.11 clientProperties:table mechanism:shortstr response:longstr locale:shortstr",
  "connection.tune": "10.30 channelMax:short frameMax:long heartbeat:short",
  "connection.tune-ok": "10.31 channelMax:short frameMax:long heartbeat:short",
  "connection.open": "10.40 virtualHost:shortstr capabilities:shortstr insist:bit",
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
    "40.10 ticket:short exchange:shortstr type:shortstr passive:bit durable:bit autoDelete:bit internal:bit noWait:bit arguments:table",
  "exchange.declare-ok": "40.11",
  "exchange.delete": "40.20 ticket:short exchange:shortstr ifUnused:bit noWait:bit",
  "exchange.delete-ok": "40.21",
  "queue.declare":
    "50.10 ticket:short queue:shortstr passive:bit durable:bit exclusive:bit autoDelete:bit noWait:bit arguments:table",
  "queue.declare-ok": "50.11 queue:shortstr messageCount:long consumerCount:long",
  "queue.bind":
    "50.20 ticket:short queue:shortstr exchange:shortstr routingKey:shortstr noWait:bit arguments:table",
  "queue.bind-ok": "50.21",
  "queue.purge": "50.30 ticket:short queue:shortstr noWait:bit",
  "queue.purge-ok": "50.31 messageCount:long",
  "queue.delete": "50.40 ticket:short queue:shortstr ifUnused:bit ifEmpty:bit noWait:bit",
  "queue.delete-ok": "50.41 messageCount:long",
  "queue.unbind": "50.50 ticket:short queue:shortstr exchange:shortstr routingKey:shortstr arguments:table",
  "queue.unbind-ok": "50.51",
  "basic.qos": "60.10 prefetchSize:long prefetchCount:short global:bit",
  "basic.qos-ok": "60.11",
  "basic.consume":
    "60.20 ticket:short queue:shortstr consumerTag:shortstr noLocal:bit noAck:bit exclusive:bit noWait:bit arguments:table",
  "basic.consume-ok": "60.21 consumerTag:shortstr",
  "basic.cancel": "60.30 consumerTag:shortstr noWait:bit",
  "basic.cancel-ok": "60.31 consumerTag:shortstr",
  "basic.publish": "60.40 ticket:short exchange:shortstr routingKey:shortstr mandatory:bit immediate:bit",
  "basic.return": "60.50 replyCode:short replyText:shortstr exchange:shortstr routingKey:shortstr",
  "basic.deliver":
    "60.60 consumerTag:shortstr deliveryTag:longlong redelivered:bit exchange:shortstr routingKey:shortstr",
  "basic.get": "60.70 ticket:short queue:shortstr noAck:bit",
  "basic.get-ok":
    "60.71 deliveryTag:longlong redelivered:bit exchange:shortstr routingKey:shortstr messageCount:long",
  "basic.get-empty": "60.72 clusterId:shortstr",
  "basic.ack": "60.80 deliveryTag:longlong multiple:bit",
  "basic.reject": "60.90 deliveryTag:longlong requeue:bit",
  "basic.recover": "60.110 requeue:bit",
  "basic.recover-ok": "60.111",
  "basic.nack": "60.120 deliveryTag:longlong multiple:bit requeue:bit",
  "confirm.select": "85.10 noWait:bit",
  "confirm.select-ok": "85.11",
} as const;

export type MethodName = keyof typeof METHODS;

/** What an argument of each type is in JavaScript. */
type Values = { [T in keyof typeof READ]: ReturnType<(typeof READ)[T]> } & { bit: boolean };
type ArgumentType = keyof Values;

/** The arguments that a line of the table lists. */
type Listed<Line extends string> = Line extends `${infer First} ${infer Rest}` ? Listed<First> & Listed<Rest>
  : Line extends `${infer Name}:${infer Type extends ArgumentType}` ? { readonly [K in Name]: Values[Type] }
  : object;

/** The arguments of method `N`, by name. */
export type MethodArguments<N extends MethodName> = Listed<(typeof METHODS)[N]>;

/** Any method with its arguments, told apart by `name`. */
export type Method = {
  [N in MethodName]: { readonly name: N; readonly args: MethodArguments<N> };
}[MethodName];

const READ = { ...read, table: readTable };
const WRITE = { ...write, table: writeTable };

type Plan = {
  readonly name: MethodName;
  readonly key: number;
  readonly args: readonly { readonly name: string; readonly type: ArgumentType }[];
};

const PLANS: ReadonlyMap<string, Plan> = new Map(Object.entries(METHODS).map(planMethod));
const PLANS_BY_KEY = new Map([...PLANS.values()].map((plan) => [plan.key, plan]));

/** Class id in the upper, method id in the lower 16 bits: what the payload of a method's frame begins with. */
export function methodKey(name: MethodName): number {
  return PLANS.get(name)?.key ?? 0;
}

/** Reads the payload of a method's frame. Errors: `AmqpError` 540 on a method not served, 502 on malformed arguments. */
export function readMethod(reader: ByteReader): Method {
  const key = read.long(reader);
  const plan = PLANS_BY_KEY.get(key);
  if (!plan) throw notServed(`method ${key >>> 16}.${key & 0xffff}`);
  const args: Record<string, unknown> = {};
  let bits = 0;
  let bitCount = 0;
  for (const { name, type } of plan.args) {
    if (type === "bit") {
      if (bitCount % 8 === 0) bits = read.octet(reader);
      args[name] = (bits & (1 << (bitCount++ % 8))) !== 0;
    } else {
      bitCount = 0;
      args[name] = READ[type](reader);
    }
  }
  // Sound: the plan that filled `args` was made from the very table that the type is derived from.
  return { name: plan.name, args } as Method;
}

/** Writes the payload of a method's frame: ids, then arguments, runs of bits packed into octets (section 4.2.5.2). */
export function writeMethod<N extends MethodName>(
  writer: ByteWriter,
  name: N,
  args: MethodArguments<N>,
): void {
  const plan = PLANS.get(name);
  if (!plan) throw new TypeError(`No plan for the method ${name}`);
  const values = args as Readonly<Record<string, unknown>>;
  write.long(writer, plan.key);
  let bitCount = 0;
  for (const { name, type } of plan.args) {
    const value = values[name];
    if (type === "bit") {
      if (bitCount % 8 === 0) write.octet(writer, 0);
      if (value === true) {
        const last = writer.at - 1;
        writer.view.setUint8(last, writer.view.getUint8(last) | (1 << (bitCount % 8)));
      }
      bitCount++;
    } else {
      bitCount = 0;
      (WRITE[type] as (writer: ByteWriter, value: unknown) => void)(writer, value); // typed by `args`
    }
  }
}

function planMethod([name, line]: [string, string]): [string, Plan] {
  const [ids = "", ...listed] = line.split(" ");
  const [classId = 0, methodId = 0] = ids.split(".").map(Number);
  const args = listed.map((argument) => {
    const [name = "", type = ""] = argument.split(":");
    return { name, type: type as ArgumentType };
  });
  return [name, { name: name as MethodName, key: classId * 0x10000 + methodId, args }];
}
