// A client's connection from its first byte to its last: handshake, frames for its channels, heartbeats, closing.

import { type Broker, deleteQueue } from "./broker.ts";
import { AmqpError, type Field, writeBytes } from "./bytes.ts";
import {
  type Channel,
  createChannel,
  endChannel,
  handleChannelMethod,
  receiveBody,
  receiveHeader,
  sendConfirms,
  wakeConsumers,
} from "./channel.ts";
import {
  type Content,
  createFrameReader,
  createOutgoing,
  FRAME,
  type Frame,
  type Method,
  type MethodArguments,
  type MethodName,
  readMethod,
  readMore,
  takeFrame,
  writeContentFrames,
  writeFrame,
  writeMethodFrame,
} from "./frames.ts";
import type { AmqpBrokerOptions } from "./server.ts";

export type ConnectionEvent =
  & { readonly peer: string }
  & (
    | { readonly type: "connection opened"; readonly user: string }
    | { readonly type: "connection closed"; readonly reason: string }
    | { readonly type: "channel closed"; readonly channel: number; readonly reason: string }
  );

export type ConnectionHost = Required<AmqpBrokerOptions> & {
  readonly broker: Broker;
  readonly connections: Set<Connection>;
};

/** How far a connection has come; the stages of the handshake are named after what is awaited. */
type Stage = "header" | "start-ok" | "tune-ok" | "open" | "running" | "closing" | "closed";

export type Connection = ReturnType<typeof createConnection>;

/** What a client opens the conversation with: `AMQP`, 0, 0, 9, 1 (section 4.2.2). */
export const PROTOCOL_HEADER = new Uint8Array([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]);
/** What RabbitMQ 4 answers anything else with, before it hangs up: the header of AMQP 1.0 over SASL. */
const HEADER_ANSWER = new Uint8Array([0x41, 0x4d, 0x51, 0x50, 3, 1, 0, 0]);

const CAPABILITIES = ("publisher_confirms basic.nack consumer_cancel_notify connection.blocked " +
  "authentication_failure_close per_consumer_qos").split(" ");

const START: MethodArguments<"connection.start"> = {
  versionMajor: 0,
  versionMinor: 9,
  serverProperties: new Map<string, Field>([
    ["capabilities", new Map(CAPABILITIES.map((name) => [name, true]))],
    ["product", "Embedded AMQP broker"],
    ["version", "1.0.0"],
  ]),
  mechanisms: "PLAIN",
  locales: "en_US",
};

/** Bytes of a frame at most, overhead included, and the smallest that both sides must accept for it (section 4.9). */
const FRAME_MAX = 128 * 1024;
const FRAME_MIN_SIZE = 4096;
const CHANNEL_MAX = 2047;
/** Above so many unsent bytes a connection gets no more deliveries; below a quarter of it, it does again. */
const CONGESTED_BYTES = 256 * 1024;
/** Above so many, nothing more is read from it either: it asks for more than it reads. */
const OVERFULL_BYTES = 4 * 1024 * 1024;
/** How long a client may take to answer `connection.close`. */
const CLOSE_MS = 1_000;
/** Looked at twice per interval, so a peer is given up between two and a half and three intervals of silence. */
const TICKS_UNTIL_DEAD = 5;

/** Class and method id of `basic.publish`. */
const PUBLISH_KEY = 60 * 0x1_0000 + 40;

/** Serves an accepted socket until it is closed and everything its connection held is given back. Never rejects. */
export async function serveConnection(host: ConnectionHost, socket: Deno.TcpConn): Promise<void> {
  const connection = createConnection(host, socket);
  host.connections.add(connection);
  setDeadline(connection, host.handshakeTimeoutMs, "handshake timed out");
  try {
    while (!isClosed(connection) && await readMore(connection.frames, socket)) {
      connection.silentTicks = 0;
      await handleInput(connection);
    }
  } catch (error) {
    connection.reason ||= error instanceof Error ? error.message : String(error);
  }
  dropSocket(connection, "closed by the client without a word");
  clearTimeout(connection.deadline);
  clearInterval(connection.heartbeat);
  endChannels(connection);
  host.connections.delete(connection);
  host.log({ type: "connection closed", peer: connection.name, reason: connection.reason });
}

function createConnection(host: ConnectionHost, socket: Deno.TcpConn) {
  const { hostname, port } = socket.remoteAddr;
  const out = createOutgoing(
    socket,
    () => resumeDeliveries(connection),
    () => dropSocket(connection, "write failed"),
  );
  const connection = {
    host,
    socket,
    name: `${hostname}:${port}`,
    frames: createFrameReader(FRAME_MAX),
    out,
    channels: new Map<number, Channel>(),
    stage: "header" as Stage,
    channelMax: CHANNEL_MAX,
    /** Half intervals of heartbeats that began since bytes came from the client. */
    silentTicks: 0,
    /** Deliveries wait until the client has read more. */
    congested: false,
    /** Whether reading is put off, on purpose: the peer's silence means nothing then. */
    paused: false,
    /** Ends a pause that waits for memory. */
    resume: (): void => {},
    /** The bytes that come no longer make sense, and are thrown away until the client has closed. */
    garbled: false,
    reason: "",
    /** Time limit of the handshake, later of the closing. */
    deadline: undefined as ReturnType<typeof setTimeout> | undefined,
    heartbeat: undefined as ReturnType<typeof setInterval> | undefined,
    user: "",
    capabilities: new Set<string>(),
    send<N extends MethodName>(channel: number, name: N, args: MethodArguments<N>, content?: Content): void {
      out.write((writer) => {
        writeMethodFrame(writer, channel, name, args);
        if (content) writeContentFrames(writer, channel, content, connection.frames.frameMax);
      });
    },
    isCongested: (): boolean => connection.congested ||= out.pendingBytes() > CONGESTED_BYTES,
  };
  return connection;
}

/** Asks the client to close because the broker stops, and sees to it that the connection ends soon. */
export function forceClose(connection: Connection): void {
  if (connection.stage !== "running") return dropSocket(connection, "broker stopped");
  closeConnection(connection, new AmqpError(320, "broker forced connection closure"), 0);
  connection.resume();
}

/**
 * Handles every whole frame that is buffered. While memory is short it waits before a publish, so that acknowledgements are
 * still read; while the peer does not read, it waits at the end.
 */
async function handleInput(connection: Connection): Promise<void> {
  const { frames, host: { broker: { memory } }, out } = connection;
  if (connection.stage === "header" && !acceptHeader(connection)) return;
  const next = () => connection.garbled || isClosed(connection) ? undefined : takeFrame(frames);
  try {
    for (let frame = next(); frame; frame = next()) {
      while (memory.raised && keyOf(frame) === PUBLISH_KEY && connection.stage === "running") {
        await waitForMemory(connection);
      }
      handleFrame(connection, frame);
    }
  } catch (error) {
    connection.garbled = true;
    closeConnection(connection, asAmqpError(error), 0);
  }
  connection.channels.values().forEach(sendConfirms);
  if (connection.garbled || isClosed(connection)) frames.start = frames.filled = 0;
  if (out.pendingBytes() > OVERFULL_BYTES) await pause(connection, out.drained());
}

async function waitForMemory(connection: Connection): Promise<void> {
  const isTold = connection.capabilities.has("connection.blocked");
  connection.channels.values().forEach(sendConfirms);
  if (isTold) connection.send(0, "connection.blocked", { reason: "low on memory" });
  await pause(connection, new Promise<void>((resolve) => connection.resume = resolve));
  if (isTold && connection.stage === "running") connection.send(0, "connection.unblocked", {});
}

async function pause(connection: Connection, until: Promise<void>): Promise<void> {
  connection.paused = true;
  await until;
  connection.paused = false;
  connection.resume = () => {};
}

function acceptHeader(connection: Connection): boolean {
  const { frames } = connection;
  const { length } = PROTOCOL_HEADER;
  if (frames.filled < length) return false;
  frames.start = length;
  if (PROTOCOL_HEADER.every((byte, index) => byte === frames.buffer.bytes[index])) {
    connection.stage = "start-ok";
    connection.send(0, "connection.start", START);
  } else {
    connection.out.write((writer) => writeBytes(writer, HEADER_ANSWER));
    closeAfterFlush(connection, "not an AMQP 0-9-1 client");
  }
  return true;
}

/** The key of a frame's method; 0 for any other frame. */
function keyOf({ type, payload: { view, at, end } }: Frame): number {
  return type === FRAME.method && end - at >= 4 ? view.getUint32(at) : 0;
}

function handleFrame(connection: Connection, frame: Frame): void {
  const key = keyOf(frame) || PUBLISH_KEY; // whose frames headers and bodies are
  try {
    if (frame.type === FRAME.method) handleMethod(connection, frame.channel, readMethod(frame.payload));
    else if (frame.type !== FRAME.heartbeat) handleContent(connection, frame);
  } catch (error) {
    closeFor(connection, frame.channel, asAmqpError(error), key);
  }
}

function handleContent({ stage, channels }: Connection, { type, channel: id, payload }: Frame): void {
  if (stage === "closing") return;
  const channel = channels.get(id);
  if (!channel) throw new AmqpError(504, `content on channel ${id}, which is not open`);
  if (channel.closing) return;
  if (type === FRAME.header) receiveHeader(channel, payload);
  else receiveBody(channel, payload);
}

function handleMethod(connection: Connection, channelId: number, method: Method): void {
  const { stage, channels } = connection;
  if (method.name === "connection.close" && (channelId === 0 || stage === "closing")) {
    connection.send(0, "connection.close-ok", {});
    return closeAfterFlush(connection, "closed by the client");
  }
  if (stage === "closing") {
    if (method.name === "connection.close-ok") dropSocket(connection, "closed");
    return;
  }
  if (channelId === 0) return handleConnectionMethod(connection, method);
  if (stage !== "running") throw new AmqpError(503, `${method.name} before connection.open`);
  const channel = channels.get(channelId);
  if (!channel) return openChannel(connection, channelId, method);
  if (method.name === "channel.close-ok" && channel.closing) {
    channels.delete(channelId);
  } else if (method.name === "channel.close") {
    sendConfirms(channel);
    endChannel(channel);
    channels.delete(channelId);
    connection.send(channelId, "channel.close-ok", {});
  } else if (!channel.closing) {
    if (method.name === "channel.open") throw new AmqpError(504, "second 'channel.open' seen");
    handleChannelMethod(channel, method);
  }
}

/** The steps of the handshake, in their order; nothing else may come on channel 0. */
function handleConnectionMethod(connection: Connection, method: Method): void {
  const { stage, host, name } = connection;
  if (stage === "start-ok" && method.name === "connection.start-ok") {
    logIn(connection, method.args);
    const { heartbeatSeconds: heartbeat } = host;
    connection.send(0, "connection.tune", { channelMax: CHANNEL_MAX, frameMax: FRAME_MAX, heartbeat });
    connection.stage = "tune-ok";
  } else if (stage === "tune-ok" && method.name === "connection.tune-ok") {
    const { frameMax, channelMax, heartbeat } = method.args;
    connection.channelMax = agreed("channel_max", channelMax, 1, CHANNEL_MAX);
    connection.frames.frameMax = agreed("frame_max", frameMax, FRAME_MIN_SIZE, FRAME_MAX);
    startHeartbeat(connection, heartbeat);
    connection.stage = "open";
  } else if (stage === "open" && method.name === "connection.open") {
    const { virtualHost } = method.args;
    if (virtualHost !== "/") throw new AmqpError(530, `vhost ${virtualHost} not found`);
    if ([...host.connections].filter(({ stage }) => stage === "running").length >= host.maxConnections) {
      const limit = `connection limit (${host.maxConnections}) is reached`;
      throw new AmqpError(530, `access to vhost '/' refused: ${limit}`);
    }
    clearTimeout(connection.deadline);
    connection.stage = "running";
    connection.send(0, "connection.open-ok", { knownHosts: "" });
    host.log({ type: "connection opened", peer: name, user: connection.user });
  } else {
    const awaited = stage === "running" ? "" : `, waiting for connection.${stage}`;
    throw new AmqpError(503, `${method.name} on channel 0${awaited}`);
  }
}

/**
 * Takes in who the client is, and what it understands. The response is `[authzid] NUL user NUL password` (RFC 4616).
 *
 * Errors: `AmqpError` 403 on another mechanism than PLAIN, and on another user or password than the broker's.
 */
function logIn(connection: Connection, args: MethodArguments<"connection.start-ok">): void {
  const { mechanism, response, clientProperties } = args;
  const { user, password } = connection.host;
  if (mechanism !== "PLAIN") {
    throw new AmqpError(403, `authentication mechanism '${mechanism}' is not served, only PLAIN`);
  }
  if (response.slice(response.indexOf("\0")) !== `\0${user}\0${password}`) {
    const why = "For details see the broker logfile.";
    throw new AmqpError(403, `Login was refused using authentication mechanism PLAIN. ${why}`);
  }
  connection.user = user;
  const listed = clientProperties.get("capabilities");
  const names = listed instanceof Map ? [...listed.keys()].filter((name) => listed.get(name) === true) : [];
  connection.capabilities = new Set(names);
}

/** What the client's `connection.tune-ok` leaves of a limit; its zero means "yours". Errors: `AmqpError` 530. */
function agreed(name: string, wanted: number, least: number, most: number): number {
  const value = wanted || most;
  if (value >= least && value <= most) return value;
  throw new AmqpError(530, `negotiated ${name} = ${wanted} is not between ${least} and ${most}`);
}

function openChannel(connection: Connection, id: number, method: Method): void {
  const { channelMax, channels, host } = connection;
  if (method.name !== "channel.open") throw new AmqpError(504, "expected 'channel.open'");
  if (id > channelMax) {
    throw new AmqpError(504, `channel ${id} is above the negotiated channel-max of ${channelMax}`);
  }
  channels.set(id, createChannel(id, connection, host.broker));
  connection.send(id, "channel.open-ok", { channelId: "" });
}

/**
 * Keeps a connection alive from here, and watches the peer (section 4.2.7): a heartbeat goes out every half interval, unless
 * something else waits to go out. Nothing happens with an interval of 0 seconds.
 */
function startHeartbeat(connection: Connection, seconds: number): void {
  if (seconds === 0) return;
  const { out } = connection;
  connection.heartbeat = setInterval(() => {
    connection.silentTicks = connection.paused ? 0 : connection.silentTicks + 1;
    if (connection.silentTicks > TICKS_UNTIL_DEAD) return dropSocket(connection, "missed heartbeats");
    if (out.pendingBytes() === 0) out.write((writer) => writeFrame(writer, FRAME.heartbeat));
  }, seconds * 500);
}

function resumeDeliveries(connection: Connection): void {
  if (!connection.congested || connection.out.pendingBytes() > CONGESTED_BYTES / 4) return;
  connection.congested = false;
  connection.channels.values().forEach(wakeConsumers);
}

/** Closes the channel that an error concerns, or the connection; `key` names the method at fault. */
function closeFor(connection: Connection, id: number, error: AmqpError, key: number): void {
  const channel = connection.channels.get(id);
  const isOfChannel = error.code >= 403 && error.code <= 406;
  if (!isOfChannel || !channel) return closeConnection(connection, error, key);
  sendConfirms(channel);
  endChannel(channel);
  connection.send(id, "channel.close", closeArguments(error, key));
  connection.host.log({ type: "channel closed", peer: connection.name, channel: id, reason: error.message });
}

/** Sends `connection.close`; the client has a set time to answer it. */
function closeConnection(connection: Connection, error: AmqpError, key: number): void {
  if (connection.stage === "closing" || isClosed(connection)) return;
  connection.stage = "closing";
  connection.reason = error.message;
  setDeadline(connection, CLOSE_MS, error.message);
  endChannels(connection);
  connection.send(0, "connection.close", closeArguments(error, key));
}

/** Closes the socket once what is written is out; what still comes is not looked at. */
function closeAfterFlush(connection: Connection, reason: string): void {
  connection.stage = "closing";
  connection.garbled = true;
  connection.reason ||= reason;
  setDeadline(connection, CLOSE_MS, reason);
  connection.out.drained().then(() => dropSocket(connection, reason));
}

/** Ends all channels and what belongs to the connection alone: its exclusive queues. */
function endChannels(connection: Connection): void {
  const { channels, host: { broker } } = connection;
  channels.values().forEach(endChannel);
  channels.clear();
  for (const queue of [...broker.queues.values()]) {
    if (queue.owner === connection) deleteQueue(broker, queue);
  }
}

function closeArguments({ code, message }: AmqpError, key: number) {
  return { replyCode: code, replyText: message, classId: key >>> 16, methodId: key & 0xffff };
}

/** What the peer is told of an error: anything but an AMQP error is a fault of ours, 541. */
function asAmqpError(error: unknown): AmqpError {
  if (error instanceof AmqpError) return error;
  return new AmqpError(541, error instanceof Error ? error.message : String(error));
}

/** Closes the socket after `milliseconds`, unless the deadline is set anew or cleared first. */
function setDeadline(connection: Connection, milliseconds: number, reason: string): void {
  clearTimeout(connection.deadline);
  connection.deadline = setTimeout(() => dropSocket(connection, reason), milliseconds);
}

/** Ends the connection without another word: reading and writing fail from now on. */
function dropSocket(connection: Connection, reason: string): void {
  if (isClosed(connection)) return;
  connection.stage = "closed";
  connection.reason ||= reason;
  connection.socket[Symbol.dispose](); // which may have been closed meanwhile
  connection.resume();
}

/** A function, so that the compiler does not take the stage for what it was before a call that may have changed it. */
function isClosed({ stage }: Connection): boolean {
  return stage === "closed";
}
