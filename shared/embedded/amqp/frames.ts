// The two ends of a socket: what it delivers is split into frames and their methods, what is written leaves in as few writes
// as can be.

import {
  AmqpError,
  type ByteReader,
  byteReader,
  type ByteWriter,
  byteWriter,
  notServed,
  read,
  readTable,
  write,
  writeBytes,
  writeSized,
  writeTable,
  writtenBytes,
} from "./bytes.ts";

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
function planOf([name, line]: [string, string]) {
  const [ids = "", ...listed] = line.split(" ");
  const [classId = 0, methodId = 0] = ids.split(".").map(Number);
  const args = listed.map((argument) => {
    const [name = "", type = ""] = argument.split(":");
    return { name, flags: name.split(","), type: type as ArgumentType | "bits" };
  });
  return [name, { name, key: classId * 0x10000 + methodId, args }] as const;
}

const PLANS = Object.fromEntries(Object.entries(METHODS).map(planOf)) as Record<
  MethodName,
  ReturnType<typeof planOf>[1]
>;
const PLANS_BY_KEY = new Map(Object.values(PLANS).map((plan) => [plan.key, plan]));

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

/** Frame types (section 4.2.3). */
export const FRAME = { method: 1, header: 2, body: 3, heartbeat: 8 } as const;

/** The class of all content. */
export const BASIC_CLASS = 60;
const FRAME_END = 0xce;
/** What a frame adds to its payload: type, channel and size before it, the end octet after it. */
const FRAME_OVERHEAD = 8;

/** A frame whose payload lies in the reader's own buffer: use it before the next read, copy what must stay. */
export type Frame = { readonly type: number; readonly channel: number; readonly payload: ByteReader };

export type FrameReader = ReturnType<typeof createFrameReader>;

/** A reader of frames up to `frameMax` bytes, with one buffer for two of them that is read into again and again. */
export function createFrameReader(frameMax: number) {
  return {
    /** Longest frame to be taken, in bytes, overhead included. */
    frameMax,
    buffer: byteReader(new Uint8Array(frameMax * 2)),
    start: 0,
    /** Up to where the buffer is filled. */
    filled: 0,
  };
}

/** Reads what the socket has to give, once all whole frames are taken; false at its end. */
export async function readMore(reader: FrameReader, socket: Pick<Deno.TcpConn, "read">): Promise<boolean> {
  const { buffer: { bytes }, start, filled } = reader;
  bytes.copyWithin(0, start, filled);
  reader.filled -= start;
  reader.start = 0;
  const length = await socket.read(bytes.subarray(reader.filled));
  reader.filled += length ?? 0;
  return length !== null;
}

/** Takes the next whole frame; undefined while it is on its way. Errors: 501 on a bad type, end octet or size. */
export function takeFrame(reader: FrameReader): Frame | undefined {
  const { start, frameMax, buffer: { bytes, view } } = reader;
  const available = reader.filled - start;
  if (available < 7) return undefined;
  const type = view.getUint8(start);
  const length = view.getUint32(start + 3) + FRAME_OVERHEAD;
  if (type !== FRAME.method && type !== FRAME.header && type !== FRAME.body && type !== FRAME.heartbeat) {
    throw new AmqpError(501, `unknown frame type ${type}`);
  }
  if (length > frameMax) {
    throw new AmqpError(501, `frame of ${length} bytes exceeds the frame-max of ${frameMax}`);
  }
  if (available < length) return undefined;
  const end = start + length - 1;
  if (view.getUint8(end) !== FRAME_END) throw new AmqpError(501, `frame does not end with ${FRAME_END}`);
  reader.start += length;
  return { type, channel: view.getUint16(start + 1), payload: { bytes, view, at: start + 7, end } };
}

/** What of a message goes over the wire after its method: raw properties (flags included) and the body's pieces. */
export type Content = {
  readonly properties: Uint8Array<ArrayBuffer>;
  readonly body: Uint8Array<ArrayBuffer>[];
  readonly bodySize: number;
};

/** Writes a method frame; arguments that are left out are 0, false or empty. */
export function writeMethodFrame<N extends MethodName>(
  writer: ByteWriter,
  channel: number,
  name: N,
  args: Partial<MethodArguments<N>>,
): void {
  const plan = PLANS[name];
  const values = args as Readonly<Record<string, unknown>>;
  writeFrame(writer, FRAME.method, channel, () => {
    write.long(writer, plan.key);
    for (const { name, flags, type } of plan.args) {
      if (type === "bits") {
        write.octet(writer, flags.reduce((bits, flag, bit) => values[flag] ? bits | (1 << bit) : bits, 0));
      } else {
        const writeValue = WRITE[type] as (writer: ByteWriter, value: unknown) => void; // typed by `args`
        writeValue(writer, values[name] ?? EMPTY[type]);
      }
    }
  });
}

/** Writes a content header frame, and as many body frames of at most `frameMax` bytes as the body takes. */
export function writeContentFrames(
  writer: ByteWriter,
  channel: number,
  { properties, body, bodySize }: Content,
  frameMax: number,
): void {
  writeFrame(writer, FRAME.header, channel, () => {
    write.short(writer, BASIC_CLASS);
    write.short(writer, 0); // weight, unused
    write.longlong(writer, bodySize);
    writeBytes(writer, properties);
  });
  const most = frameMax - FRAME_OVERHEAD;
  for (const piece of body) {
    for (let offset = 0; offset < piece.byteLength; offset += most) {
      const part = piece.byteLength <= most ? piece : piece.subarray(offset, offset + most);
      writeFrame(writer, FRAME.body, channel, () => writeBytes(writer, part));
    }
  }
}

/** Writes a frame around what `payload` writes; a heartbeat has none, and channel 0. */
export function writeFrame(writer: ByteWriter, type: number, channel = 0, payload = () => {}): void {
  write.octet(writer, type);
  write.short(writer, channel);
  writeSized(writer, payload);
  write.octet(writer, FRAME_END);
}

/**
 * Buffers for `socket`: everything written in one turn of the event loop leaves in one write. `onDrain` is called after each
 * write the socket took, `onError` once should it fail; after that everything written is dropped.
 */
export function createOutgoing(
  socket: { write(bytes: Uint8Array): Promise<number> },
  onDrain: () => void,
  onError: () => void,
) {
  let writer = byteWriter(1024);
  let inFlight = 0;
  let flushing: Promise<void> | undefined;
  let failed = false;

  async function flush(): Promise<void> {
    await undefined; // let the code that writes now finish first
    try {
      while (writer.at > 0) {
        const bytes = writtenBytes(writer);
        writer = byteWriter(1024);
        for (inFlight = bytes.byteLength; inFlight > 0;) {
          inFlight -= await socket.write(bytes.subarray(bytes.byteLength - inFlight));
        }
        onDrain();
      }
    } catch {
      failed = true;
      inFlight = writer.at = 0;
      onError();
    }
    flushing = undefined; // at once after the last look at what is pending, or a write in between would be left
  }

  return {
    /** Sends what `fill` writes, once the running code is done or after the write already under way. */
    write(fill: (writer: ByteWriter) => void): void {
      if (failed) return;
      fill(writer);
      flushing ??= flush();
    },
    /** Bytes written but not yet taken by the socket. */
    pendingBytes: () => writer.at + inFlight,
    /** Resolves once nothing is pending, or the socket has failed. */
    drained: () => flushing ?? Promise.resolve(),
  };
}
