/**
 * A client that speaks AMQP frame by frame, for tests of what the stock client would never do.
 *
 * @module
 */
import { assert } from "@std/assert";
import { byteWriter, writtenBytes } from "../bytes.ts";
import { PROTOCOL_HEADER } from "../connection.ts";
import { createFrameReader, FRAME, roomForMore, takeFrame, writeMethodFrame } from "../frames.ts";
import { type Method, type MethodArguments, type MethodName, readMethod } from "../methods.ts";

/** A broker that stays silent for longer fails the test. */
const WAIT_MS = 10_000;

/** A publish to the queue `q`; its content is to follow. */
export const PUBLISH = { ticket: 0, exchange: "", routingKey: "q", mandatory: false, immediate: false };

/** A connection on which nothing happens by itself, heartbeats included. */
export type RawClient = Awaited<ReturnType<typeof connectRaw>>;

/**
 * Connects and goes through the handshake up to `connection.open`, whose answer is left to read. `tune` is what the client
 * answers with; 0 takes what the broker offers, or no heartbeats.
 */
export async function connectRaw(
  url: string,
  tune: Partial<MethodArguments<"connection.tune-ok">> = {},
  virtualHost = "/",
) {
  const { hostname, port, username, password } = new URL(url);
  const socket = await Deno.connect({ hostname, port: Number(port) });
  socket.setNoDelay(true);
  const client = rawClient(socket);
  client.write(PROTOCOL_HEADER);
  await client.expect("connection.start");
  client.send(0, "connection.start-ok", {
    clientProperties: new Map([["capabilities", new Map([["connection.blocked", true]])]]),
    mechanism: "PLAIN",
    response: `\0${username}\0${password}`,
    locale: "en_US",
  });
  const offered = await client.expect("connection.tune");
  client.send(0, "connection.tune-ok", {
    channelMax: tune.channelMax || offered.channelMax,
    frameMax: tune.frameMax || offered.frameMax,
    heartbeat: tune.heartbeat ?? 0,
  });
  client.send(0, "connection.open", { virtualHost, capabilities: "", insist: false });
  return client;
}

/** A raw client on which channel 1 is open. */
export async function connectWithChannel(url: string): Promise<RawClient> {
  const client = await connectRaw(url);
  client.send(1, "channel.open", { outOfBand: "" });
  await client.expect("channel.open-ok");
  return client;
}

/** A raw client that consumes a queue. */
export async function connectConsumer(url: string, queue: string): Promise<RawClient> {
  const client = await connectWithChannel(url);
  const flags = { noLocal: false, noAck: false, exclusive: false, noWait: false };
  client.send(1, "basic.consume", { ticket: 0, queue, consumerTag: "raw", ...flags, arguments: new Map() });
  await client.expect("basic.consume-ok");
  return client;
}

/** Sends bytes on a new connection, and nothing more with `hangUp`; answers with what comes until the broker closes it. */
export async function exchangeBytes(
  url: string,
  bytes: Uint8Array,
  { hangUp = false } = {},
): Promise<number[]> {
  const { hostname, port } = new URL(url);
  using socket = await Deno.connect({ hostname, port: Number(port) });
  const answer: number[] = [];
  const buffer = new Uint8Array(64 * 1024);
  try {
    await socket.write(bytes);
    if (hangUp) await socket.closeWrite();
  } catch {
    // the broker closed first
  }
  for (;;) {
    const length = await readOrEnd(socket, buffer);
    if (length === null) return answer;
    answer.push(...buffer.subarray(0, length));
  }
}

/** A reset by the broker is an end like any other. */
async function readOrEnd(socket: Deno.TcpConn, buffer: Uint8Array): Promise<number | null> {
  return await socket.read(buffer).catch(() => null);
}

/** The methods that come, up to the end of the connection; other frames are passed over. */
async function* methodsOf(socket: Deno.TcpConn): AsyncGenerator<Method, undefined> {
  const frames = createFrameReader(256 * 1024);
  for (;;) {
    for (let frame = takeFrame(frames); frame; frame = takeFrame(frames)) {
      if (frame.type === FRAME.method) yield readMethod(frame.payload);
    }
    const length = await readOrEnd(socket, roomForMore(frames));
    if (length === null) return;
    frames.filled += length;
  }
}

function rawClient(socket: Deno.TcpConn) {
  const methods = methodsOf(socket);
  let writing: Promise<unknown> = Promise.resolve();

  function close(): void {
    try {
      socket.close();
    } catch {
      // closed already
    }
  }

  /** The next method, or undefined at the end. Heartbeats may come for ever, so the wait has a bound of its own. */
  async function nextMethod(): Promise<Method | undefined> {
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      close();
    }, WAIT_MS);
    const { value } = await methods.next();
    clearTimeout(timer);
    assert(!timedOut, `Waited ${WAIT_MS} ms for the broker to send a method, or to close`);
    return value;
  }

  function write(bytes: Uint8Array): void {
    const copy = bytes.slice();
    writing = writing.then(() => socket.write(copy)).catch(() => {}); // the broker may close meanwhile
  }

  return {
    send<N extends MethodName>(channel: number, name: N, args: MethodArguments<N>): void {
      const writer = byteWriter();
      writeMethodFrame(writer, channel, name, args);
      write(writtenBytes(writer));
    },
    /** Sends bytes as they are. */
    write,
    /** Reads up to the next method of this name, over everything else; fails when the connection ends before. */
    async expect<N extends MethodName>(name: N): Promise<MethodArguments<N>> {
      for (;;) {
        const method: Method | undefined = await nextMethod();
        assert(method, `The connection ended before ${name}`);
        if (method.name === name) return method.args as MethodArguments<N>;
      }
    },
    /**
     * Reads on until the broker closes, hangs up as well, and answers with the reply code of its `connection.close`, or with
     * undefined when it closed the socket without one.
     */
    async closeCode(): Promise<number | undefined> {
      for (;;) {
        const method = await nextMethod();
        if (method && method.name !== "connection.close") continue;
        close();
        return method?.args.replyCode;
      }
    },
    /** Closes the socket without a word. */
    close,
  };
}
