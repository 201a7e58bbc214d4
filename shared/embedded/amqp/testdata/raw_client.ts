/**
 * A client that speaks AMQP frame by frame, for tests of what the stock client would never do.
 *
 * @module
 */
import { assert } from "@std/assert";
import { byteWriter, writtenBytes } from "../byte_writer.ts";
import { createFrameReader, FRAME, type Frame } from "../frame_reader.ts";
import { writeMethodFrame } from "../frame_writer.ts";
import { PROTOCOL_HEADER } from "../handshake.ts";
import { type Method, type MethodArguments, type MethodOf, readMethod } from "../method_codec.ts";
import type { MethodName } from "../method_table.ts";

/** A connection on which nothing happens by itself, heartbeats included. */
export type RawClient = {
  /** Sends a method. */
  send<N extends MethodName>(channel: number, name: N, args: MethodArguments<N>): void;
  /** Sends bytes as they are. */
  write(bytes: Uint8Array): void;
  /** Reads up to the next method of this name, over everything else; fails when the connection ends before. */
  expect<N extends MethodName>(name: N): Promise<MethodArguments<N>>;
  /** The reply code of the broker's `connection.close`, or `undefined` when it closes the socket without one. */
  closeCode(): Promise<number | undefined>;
  /** Reads up to the next heartbeat, over everything else. */
  heartbeat(): Promise<void>;
  /** Reads until the broker has closed the socket. */
  closed(): Promise<void>;
  /** Closes the socket without a word. */
  close(): void;
};

/** What a client answers `connection.tune` with; 0 takes what the broker offers, or no heartbeats. */
export type RawTune = MethodArguments<"connection.tune-ok">;

/** A broker that stays silent for longer fails the test. */
const WAIT_MS = 10_000;

const NO_LIMITS: RawTune = { channelMax: 0, frameMax: 0, heartbeat: 0 };

/** Connects and goes through the handshake up to `connection.open`, whose answer is left to read. */
export async function connectRaw(url: string, tune: RawTune = NO_LIMITS): Promise<RawClient> {
  const { hostname, port } = new URL(url);
  const socket = await Deno.connect({ hostname, port: Number(port) });
  socket.setNoDelay(true);
  const client = rawClient(socket);
  client.write(PROTOCOL_HEADER);
  await client.expect("connection.start");
  const response = new TextEncoder().encode("\0guest\0guest");
  client.send(0, "connection.start-ok", {
    clientProperties: [["capabilities", {
      type: "F",
      value: [["connection.blocked", { type: "t", value: true }]],
    }]],
    mechanism: "PLAIN",
    response,
    locale: "en_US",
  });
  const offered = await client.expect("connection.tune");
  client.send(0, "connection.tune-ok", {
    channelMax: tune.channelMax || offered.channelMax,
    frameMax: tune.frameMax || offered.frameMax,
    heartbeat: tune.heartbeat,
  });
  client.send(0, "connection.open", { virtualHost: "/", capabilities: "", insist: false });
  return client;
}

/** Sends bytes on a new connection and answers with everything that comes until the broker closes it. */
export async function exchangeBytes(url: string, bytes: Uint8Array): Promise<Uint8Array> {
  const { hostname, port } = new URL(url);
  using socket = await Deno.connect({ hostname, port: Number(port) });
  await socket.write(bytes);
  return await new Response(ReadableStream.from(readAll(socket))).bytes();
}

async function* readAll(socket: Deno.TcpConn): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(4096);
  for (;;) {
    const length = await readOrEnd(socket, buffer);
    if (length === null) return;
    yield buffer.slice(0, length);
  }
}

/** A reset by the broker is an end like any other. */
async function readOrEnd(socket: Deno.TcpConn, buffer: Uint8Array): Promise<number | null> {
  try {
    return await socket.read(buffer);
  } catch {
    return null;
  }
}

function rawClient(socket: Deno.TcpConn): RawClient {
  const frames = createFrameReader(256 * 1024);
  let writing: Promise<unknown> = Promise.resolve();

  function close(): void {
    try {
      socket.close();
    } catch {
      // closed already
    }
  }

  async function nextFrame(): Promise<Frame | undefined> {
    for (;;) {
      const frame = frames.peek();
      if (frame) {
        frames.drop();
        return frame;
      }
      let timedOut = false;
      const timer = setTimeout(() => {
        timedOut = true;
        close();
      }, WAIT_MS);
      const length = await readOrEnd(socket, frames.room());
      clearTimeout(timer);
      assert(!timedOut, `Waited ${WAIT_MS} ms for the broker to send something, or to close`);
      if (length === null) return undefined;
      frames.fill(length);
    }
  }

  async function nextMethod(): Promise<Method | undefined> {
    for (;;) {
      const frame = await nextFrame();
      if (!frame || frame.type === FRAME.method) return frame && readMethod(frame.payload);
    }
  }

  async function expect<N extends MethodName>(name: N): Promise<MethodArguments<N>> {
    for (;;) {
      const method = await nextMethod();
      assert(method, `The connection ended before ${name}`);
      if (isMethod(method, name)) return method.args;
    }
  }

  function write(bytes: Uint8Array): void {
    const copy = bytes.slice();
    writing = writing.then(() => socket.write(copy)).catch(() => {}); // the broker may close meanwhile
  }

  return {
    send(channel, name, args) {
      const writer = byteWriter();
      writeMethodFrame(writer, channel, name, args);
      write(writtenBytes(writer));
    },
    write,
    expect,
    async closeCode() {
      for (;;) {
        const method = await nextMethod();
        if (!method || method.name === "connection.close") return method?.args.replyCode;
      }
    },
    async heartbeat() {
      for (;;) {
        const frame = await nextFrame();
        assert(frame, "The connection ended before a heartbeat");
        if (frame.type === FRAME.heartbeat) return;
      }
    },
    async closed() {
      while (await nextFrame());
    },
    close,
  };
}

function isMethod<N extends MethodName>(method: Method, name: N): method is Method & MethodOf<N> {
  return method.name === name;
}
