import { type Broker, deleteQueue } from "./broker.ts";
import { AmqpError, writeBytes } from "./bytes.ts";
import {
  type Channel,
  createChannel,
  endChannel,
  type Peer,
  sendConfirms,
  wakeConsumers,
} from "./channel.ts";
import { handleChannelMethod, receiveBody, receiveHeader } from "./channel_methods.ts";
import {
  createFrameReader,
  discardBuffered,
  FRAME,
  type Frame,
  received,
  roomForMore,
  takeBytes,
  takeFrame,
  writeContentFrames,
  writeHeartbeatFrame,
  writeMethodFrame,
} from "./frames.ts";
import {
  clientCapabilities,
  type Credentials,
  HEADER_ANSWER,
  type Limits,
  logIn,
  negotiate,
  PROTOCOL_HEADER,
  START,
} from "./handshake.ts";
import { type Method, methodKey, readMethod } from "./methods.ts";
import { createOutgoing } from "./outgoing.ts";

/** What happened on a connection, for a log. */
export type ConnectionEvent =
  | { readonly type: "connection opened"; readonly peer: string; readonly user: string }
  | { readonly type: "connection closed"; readonly peer: string; readonly reason: string }
  | {
    readonly type: "channel closed";
    readonly peer: string;
    readonly channel: number;
    readonly reason: string;
  };

/** What all connections of a broker share. */
export type ConnectionHost = {
  readonly broker: Broker;
  readonly credentials: Credentials;
  readonly limits: Limits;
  /** How long a client may take from its first byte to `connection.open`. */
  readonly handshakeTimeoutMs: number;
  readonly log: (event: ConnectionEvent) => void;
  /** Errors: an `AmqpError` when the broker has as many open connections as it may. */
  readonly admit: () => void;
};

/** A client's connection. */
export type Connection = ReturnType<typeof createConnection>;

type Timer = ReturnType<typeof setTimeout> | undefined;

/** How far a connection has come; the stages of the handshake are named after what is awaited. */
type Stage = "header" | "start-ok" | "tune-ok" | "open" | "running" | "closing" | "closed";

/** Above so many unsent bytes a connection gets no more deliveries; below a quarter of it, it does again. */
const CONGESTED_BYTES = 256 * 1024;
/** Above so many, nothing more is read from it either: it asks for more than it reads. */
const OVERFULL_BYTES = 4 * 1024 * 1024;
/** How long a client may take to answer `connection.close`. */
const CLOSE_MS = 1_000;
/** Looked at twice per interval, so a peer is given up between two and two and a half intervals of silence. */
const TICKS_UNTIL_DEAD = 4;

const PUBLISH_KEY = methodKey("basic.publish");

/** A connection for an accepted socket; `serveConnection` serves it. */
export function createConnection(host: ConnectionHost, socket: Deno.TcpConn) {
  const { hostname, port } = socket.remoteAddr;
  const { frameMax, channelMax } = host.limits;
  const peer: Peer = {
    user: "",
    capabilities: new Set(),
    send(channel, name, args, content) {
      const writer = connection.out.writer();
      writeMethodFrame(writer, channel, name, args);
      if (content) writeContentFrames(writer, channel, content, connection.frameMax);
      connection.out.flushSoon();
    },
    isCongested: () => connection.congested ||= connection.out.pendingBytes() > CONGESTED_BYTES,
  };
  const connection = {
    host,
    socket,
    peer,
    /** The client's address and port. */
    name: `${hostname}:${port}`,
    frames: createFrameReader(frameMax),
    out: createOutgoing(
      socket,
      () => resumeDeliveries(connection),
      () => dropSocket(connection, "write failed"),
    ),
    channels: new Map<number, Channel>(),
    stage: "header" as Stage,
    frameMax,
    channelMax,
    /** How often bytes came from the client. */
    reads: 0,
    /** Deliveries wait until the client has read more. */
    congested: false,
    /** Whether it ever published: only then does memory pressure concern it. */
    publishes: false,
    toldBlocked: false,
    /** Whether reading is put off, on purpose: the peer's silence means nothing then. */
    paused: false,
    /** Ends a pause that waits for memory. */
    resume: (): void => {},
    /** The bytes that come no longer make sense, and are thrown away until the client has closed. */
    garbled: false,
    /** Why it closed. */
    reason: "",
    /** Time limit of the handshake, later of the closing. */
    deadline: undefined as Timer,
    heartbeat: undefined as Timer,
  };
  return connection;
}

/** Serves a connection until it is closed and everything it held is given back. Never rejects. */
export async function serveConnection(connection: Connection): Promise<void> {
  const { host, socket, frames } = connection;
  setDeadline(connection, host.handshakeTimeoutMs, "handshake timed out");
  try {
    while (connection.stage !== "closed") {
      const length = await socket.read(roomForMore(frames));
      if (length === null) break;
      connection.reads++;
      received(frames, length);
      await handleInput(connection);
    }
  } catch (error) {
    connection.reason ||= error instanceof Error ? error.message : String(error);
  }
  dropSocket(connection, "closed by the client without a word");
  clearTimeout(connection.deadline);
  clearInterval(connection.heartbeat);
  endChannels(connection);
  host.log({ type: "connection closed", peer: connection.name, reason: connection.reason });
}

/** Asks the client to close because the broker stops, and sees to it that the connection ends soon. */
export function forceClose(connection: Connection): void {
  if (connection.stage !== "running") return dropSocket(connection, "broker stopped");
  closeConnection(connection, new AmqpError(320, "broker forced connection closure"), 0);
  connection.resume();
}

/** Tells a publishing connection that the memory alarm was raised or cleared, and reads on in the latter case. */
export function tellMemoryAlarm(connection: Connection, raised: boolean): void {
  const { peer, publishes, toldBlocked, stage } = connection;
  if (
    stage === "running" && publishes && raised !== toldBlocked && peer.capabilities.has("connection.blocked")
  ) {
    connection.toldBlocked = raised;
    if (raised) peer.send(0, "connection.blocked", { reason: "low on memory" });
    else peer.send(0, "connection.unblocked", {});
  }
  if (!raised) connection.resume();
}

/**
 * Handles every whole frame that is buffered. While memory is short it waits before a publish, so that acknowledgements are
 * still read; while the peer does not read, it waits at the end.
 */
async function handleInput(connection: Connection): Promise<void> {
  const { frames, host: { broker: { memory } }, out } = connection;
  if (connection.stage === "header" && !acceptHeader(connection)) return;
  for (let frame = nextFrame(connection); frame; frame = nextFrame(connection)) {
    if (keyOf(frame) === PUBLISH_KEY) connection.publishes = true;
    while (memory.raised && keyOf(frame) === PUBLISH_KEY && connection.stage === "running") {
      confirmAll(connection);
      tellMemoryAlarm(connection, true);
      await pause(connection, new Promise<void>((resolve) => connection.resume = resolve));
    }
    handleFrame(connection, frame);
  }
  confirmAll(connection);
  if (connection.garbled || isClosed(connection)) discardBuffered(frames);
  if (out.pendingBytes() > OVERFULL_BYTES) await pause(connection, out.drained());
}

async function pause(connection: Connection, until: Promise<void>): Promise<void> {
  connection.paused = true;
  await until;
  connection.paused = false;
  connection.resume = () => {};
}

function confirmAll({ channels }: Connection): void {
  for (const channel of channels.values()) sendConfirms(channel);
}

/** The next frame, if it has come; closes the connection on bytes that are none. */
function nextFrame(connection: Connection): Frame | undefined {
  if (connection.garbled || isClosed(connection)) return undefined;
  try {
    return takeFrame(connection.frames);
  } catch (error) {
    connection.garbled = true;
    closeConnection(connection, asAmqpError(error), 0);
    return undefined;
  }
}

/** The key of a frame's method; 0 for any other frame. */
function keyOf({ type, payload: { view, at, end } }: Frame): number {
  return type === FRAME.method && end - at >= 4 ? view.getUint32(at) : 0;
}

function acceptHeader(connection: Connection): boolean {
  const header = takeBytes(connection.frames, PROTOCOL_HEADER.byteLength);
  if (!header) return false;
  if (header.every((byte, index) => byte === PROTOCOL_HEADER[index])) {
    connection.stage = "start-ok";
    connection.peer.send(0, "connection.start", START);
  } else {
    connection.stage = "closing";
    connection.garbled = true;
    connection.reason = "not an AMQP 0-9-1 client";
    writeBytes(connection.out.writer(), HEADER_ANSWER);
    closeAfterFlush(connection);
  }
  return true;
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

function handleContent(connection: Connection, { type, channel: id, payload }: Frame): void {
  if (connection.stage === "closing") return;
  const channel = connection.channels.get(id);
  if (!channel) throw new AmqpError(504, `content on channel ${id}, which is not open`);
  if (channel.closing) return;
  if (type === FRAME.header) receiveHeader(channel, payload);
  else receiveBody(channel, payload);
}

function handleMethod(connection: Connection, channelId: number, method: Method): void {
  const { stage, channels, peer } = connection;
  if (stage === "closing") {
    if (method.name === "connection.close-ok") dropSocket(connection, "closed");
    else if (method.name === "connection.close") answerClose(connection);
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
    peer.send(channelId, "channel.close-ok", {});
  } else if (!channel.closing) {
    if (method.name === "channel.open") throw new AmqpError(504, "second 'channel.open' seen");
    handleChannelMethod(channel, method);
  }
}

/** The steps of the handshake, in their order; then only `connection.close` may come on channel 0. */
function handleConnectionMethod(connection: Connection, method: Method): void {
  const { stage, peer, host, name } = connection;
  if (method.name === "connection.close") {
    answerClose(connection);
  } else if (stage === "start-ok" && method.name === "connection.start-ok") {
    peer.user = logIn(method.args, host.credentials);
    peer.capabilities = clientCapabilities(method.args.clientProperties);
    const { channelMax, frameMax, heartbeatSeconds } = host.limits;
    peer.send(0, "connection.tune", { channelMax, frameMax, heartbeat: heartbeatSeconds });
    connection.stage = "tune-ok";
  } else if (stage === "tune-ok" && method.name === "connection.tune-ok") {
    Object.assign(connection, negotiate(method.args, host.limits));
    connection.frames.frameMax = connection.frameMax;
    startHeartbeat(connection, method.args.heartbeat);
    connection.stage = "open";
  } else if (stage === "open" && method.name === "connection.open") {
    const { virtualHost } = method.args;
    if (virtualHost !== "/") throw new AmqpError(530, `vhost ${virtualHost} not found`);
    host.admit();
    clearTimeout(connection.deadline);
    connection.stage = "running";
    peer.send(0, "connection.open-ok", { knownHosts: "" });
    host.log({ type: "connection opened", peer: name, user: peer.user });
  } else {
    const awaited = stage === "running" ? "" : `, waiting for connection.${stage}`;
    throw new AmqpError(503, `${method.name} on channel 0${awaited}`);
  }
}

function openChannel(connection: Connection, id: number, method: Method): void {
  const { channelMax, channels, peer, host } = connection;
  if (method.name !== "channel.open") throw new AmqpError(504, "expected 'channel.open'");
  if (id > channelMax) {
    throw new AmqpError(504, `channel ${id} is above the negotiated channel-max of ${channelMax}`);
  }
  channels.set(id, createChannel(id, peer, host.broker));
  peer.send(id, "channel.open-ok", { channelId: "" });
}

/**
 * Keeps a connection alive from here, and watches the peer (section 4.2.7): a heartbeat goes out whenever nothing else did
 * for half an interval; the peer is given up when for two intervals nothing came from it, or it took nothing of what waits
 * to go out. Nothing happens with an interval of 0 seconds.
 */
function startHeartbeat(connection: Connection, seconds: number): void {
  if (seconds === 0) return;
  const { out } = connection;
  let { reads } = connection;
  let sent = out.progress();
  let silentTicks = 0;
  let stuckTicks = 0;
  connection.heartbeat = setInterval(() => {
    const isIdle = out.progress() === sent;
    const isPending = out.pendingBytes() > 0;
    silentTicks = connection.reads === reads && !connection.paused ? silentTicks + 1 : 0;
    stuckTicks = isIdle && isPending ? stuckTicks + 1 : 0;
    reads = connection.reads;
    sent = out.progress();
    if (silentTicks > TICKS_UNTIL_DEAD || stuckTicks > TICKS_UNTIL_DEAD) {
      dropSocket(connection, "missed heartbeats");
    } else if (isIdle && !isPending) {
      writeHeartbeatFrame(out.writer());
      out.flushSoon();
    }
  }, seconds * 500);
}

function resumeDeliveries(connection: Connection): void {
  if (!connection.congested || connection.out.pendingBytes() > CONGESTED_BYTES / 4) return;
  connection.congested = false;
  for (const channel of connection.channels.values()) wakeConsumers(channel);
}

/** Closes what an error concerns, the channel or the whole connection; `key` names the method at fault. */
function closeFor(connection: Connection, id: number, error: AmqpError, key: number): void {
  const { channels, peer, host, name } = connection;
  const channel = channels.get(id);
  if (error.closesConnection || !channel) return closeConnection(connection, error, key);
  sendConfirms(channel);
  endChannel(channel);
  peer.send(id, "channel.close", closeArguments(error, key));
  host.log({ type: "channel closed", peer: name, channel: id, reason: error.message });
}

/** Sends `connection.close`; the client has a set time to answer it. */
function closeConnection(connection: Connection, error: AmqpError, key: number): void {
  if (connection.stage === "closing" || isClosed(connection)) return;
  connection.stage = "closing";
  connection.reason = error.message;
  endChannels(connection);
  connection.peer.send(0, "connection.close", closeArguments(error, key));
  setDeadline(connection, CLOSE_MS, error.message);
}

/** Answers the client's `connection.close` and closes the socket once the answer is out. */
function answerClose(connection: Connection): void {
  connection.peer.send(0, "connection.close-ok", {});
  connection.stage = "closing";
  connection.garbled = true;
  connection.reason ||= "closed by the client";
  closeAfterFlush(connection);
}

function closeAfterFlush(connection: Connection): void {
  const { out, reason } = connection;
  setDeadline(connection, CLOSE_MS, reason);
  out.flushSoon();
  out.drained().then(() => dropSocket(connection, reason));
}

/** Ends all channels and what belongs to the connection alone: its exclusive queues. */
function endChannels({ channels, peer, host: { broker } }: Connection): void {
  for (const channel of channels.values()) endChannel(channel);
  channels.clear();
  for (const queue of [...broker.queues.values()]) {
    if (queue.owner === peer) deleteQueue(broker, queue);
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
  try {
    connection.socket.close();
  } catch {
    // closed by the other side meanwhile
  }
  connection.resume();
}

/** A function, so that the compiler does not take the stage for what it was before a call that may have changed it. */
function isClosed({ stage }: Connection): boolean {
  return stage === "closed";
}
