// Clients that speak AMQP byte by byte, for tests of what the stock client would never do.

import { assert } from "@std/assert";
import { byteWriter, writeBytes, writtenBytes } from "../bytes.ts";
import { PROTOCOL_HEADER } from "../connection.ts";
import {
  createFrameReader,
  FRAME,
  type MethodArguments,
  type MethodName,
  readMethod,
  readMore,
  takeFrame,
  writeContentFrames,
  writeMethodFrame,
} from "../frames.ts";

/** A broker that stays silent for longer fails the test. */
const WAIT_MS = 10_000;

/** A method on a channel, with those of its arguments that are not empty; or bytes as they are. */
type Sent =
  | Uint8Array
  | { [N in MethodName]: readonly [channel: number, name: N, args: Partial<MethodArguments<N>>] }[MethodName];

/**
 * What a client sends that logs in, opens channel 1 and goes on, all without waiting for an answer. `open` are its
 * arguments of `connection.tune-ok` and `connection.open`; there are no heartbeats unless it asks for them.
 */
export function session(
  url: string,
  sent: readonly Sent[],
  open: Partial<MethodArguments<"connection.tune-ok"> & MethodArguments<"connection.open">> = {},
): Uint8Array {
  const { username, password } = new URL(url);
  const login = { mechanism: "PLAIN", response: `\0${username}\0${password}`, locale: "en_US" };
  const clientProperties = new Map([["capabilities", new Map([["connection.blocked", true]])]]);
  const { channelMax = 2047, frameMax = 131_072, heartbeat = 0, virtualHost = "/" } = open;
  const handshake: Sent[] = [
    PROTOCOL_HEADER,
    [0, "connection.start-ok", { clientProperties, ...login }],
    [0, "connection.tune-ok", { channelMax, frameMax, heartbeat }],
    [0, "connection.open", { virtualHost }],
    [1, "channel.open", {}],
  ];
  const writer = byteWriter();
  for (const part of [...handshake, ...sent]) {
    if (part instanceof Uint8Array) writeBytes(writer, part);
    else writeMethodFrame(writer, part[0], part[1], part[2]);
  }
  return writtenBytes(writer);
}

/** The content of a message with a body of so many bytes, as far as it is there; by default without properties. */
export function content(
  channel: number,
  bodySize: number,
  body: Uint8Array<ArrayBuffer>[] = [],
  properties = new Uint8Array(2),
): Uint8Array {
  const writer = byteWriter();
  writeContentFrames(writer, channel, { properties, body, bodySize }, 4096);
  return writtenBytes(writer);
}

/** Sends bytes on a new connection, which may be closed by the broker before all are taken. */
export async function sendRaw(url: string, bytes: Uint8Array): Promise<Deno.TcpConn> {
  const { hostname, port } = new URL(url);
  const socket = await Deno.connect({ hostname, port: Number(port) });
  for (let sent = 0; sent < bytes.length;) {
    sent += await socket.write(bytes.subarray(sent)).catch(() => bytes.length);
  }
  return socket;
}

/** Sends bytes, and nothing more with `hangUp`; answers with what comes until the broker closes the connection. */
export async function exchangeBytes(
  url: string,
  bytes: Uint8Array,
  { hangUp = false } = {},
): Promise<number[]> {
  using socket = await sendRaw(url, bytes);
  if (hangUp) await socket.closeWrite().catch(() => {});
  const answer: number[] = [];
  const buffer = new Uint8Array(64 * 1024);
  // A reset by the broker is an end like any other.
  for (let length; (length = await socket.read(buffer).catch(() => null));) {
    answer.push(...buffer.subarray(0, length));
  }
  return answer;
}

/** Sends bytes, and waits for the first method of this name; undefined when the broker closes the connection before. */
export async function answerTo<N extends MethodName>(
  url: string,
  bytes: Uint8Array,
  name: N,
): Promise<MethodArguments<N> | undefined> {
  using socket = await sendRaw(url, bytes);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    socket.close(); // heartbeats may come for ever
  }, WAIT_MS);
  using _ = { [Symbol.dispose]: () => clearTimeout(timer) };
  const frames = createFrameReader(256 * 1024);
  while (await readMore(frames, socket).catch(() => false)) {
    for (let frame = takeFrame(frames); frame; frame = takeFrame(frames)) {
      const method = frame.type === FRAME.method ? readMethod(frame.payload) : undefined;
      if (method?.name === name) return method.args as MethodArguments<N>;
    }
  }
  assert(!isLate, `Waited ${WAIT_MS} ms for ${name}, or the broker to close`);
  return undefined;
}

/** Sends bytes; answers with the reply code of the broker's `connection.close`, or undefined where it closes without one. */
export async function closeCode(url: string, bytes: Uint8Array): Promise<number | undefined> {
  return (await answerTo(url, bytes, "connection.close"))?.replyCode;
}
