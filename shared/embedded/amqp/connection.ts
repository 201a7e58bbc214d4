import { AmqpError } from "./amqp_error.ts";
import type { Broker } from "./broker.ts";
import { type Channel, type Peer, wakeConsumers } from "./channel.ts";
import { closeAfterFlush, closeConnection, endChannels } from "./connection_close.ts";
import { handleFrames } from "./connection_frames.ts";
import {
  type Connection,
  type ConnectionEvent,
  type ConnectionLimits,
  dropSocket,
  setDeadline,
} from "./connection_state.ts";
import { createFrameReader } from "./frame_reader.ts";
import { writeContentFrames, writeMethodFrame } from "./frame_writer.ts";
import { isProtocolHeader, PROTOCOL_HEADER, sendStart } from "./handshake.ts";
import { createOutgoing } from "./outgoing.ts";

/** Above so many unsent bytes a connection gets no more deliveries; below a quarter of it, it does again. */
const CONGESTED_BYTES = 256 * 1024;
/** Above so many, nothing more is read from it either: it asks for more than it reads. */
const OVERFULL_BYTES = 4 * 1024 * 1024;

/** A connection for an accepted socket; {@linkcode runConnection} serves it. */
export function createConnection(
  socket: Deno.TcpConn,
  broker: Broker,
  limits: ConnectionLimits,
  admit: () => void,
  log: (event: ConnectionEvent) => void,
): Connection {
  const { hostname, port } = socket.remoteAddr;
  const connection: Connection = {
    socket,
    name: `${hostname}:${port}`,
    broker,
    limits,
    log,
    admit,
    frames: createFrameReader(limits.frameMax),
    out: createOutgoing(
      socket,
      () => resumeDeliveries(connection),
      () => dropSocket(connection, "write failed"),
    ),
    peer: createPeer(() => connection),
    channels: new Map(),
    unconfirmed: [],
    stage: "header",
    frameMax: limits.frameMax,
    channelMax: limits.channelMax,
    user: "",
    capabilities: new Set(),
    reads: 0,
    congested: false,
    publishes: false,
    toldBlocked: false,
    paused: false,
    resume: undefined,
    garbled: false,
    reason: "",
    deadline: undefined,
    heartbeat: undefined,
  };
  return connection;
}

/** Serves a connection until it is closed and everything it held is given back. Never rejects. */
export async function runConnection(connection: Connection): Promise<void> {
  setDeadline(connection, connection.limits.handshakeTimeoutMs, "handshake timed out");
  try {
    while (connection.stage !== "closed") {
      const length = await connection.socket.read(connection.frames.room());
      if (length === null) break;
      connection.reads++;
      connection.frames.fill(length);
      await handleInput(connection);
    }
  } catch (error) {
    connection.reason ||= error instanceof Error ? error.message : String(error);
  }
  endConnection(connection);
}

/** Asks the client to close because the broker stops, and sees to it that the connection ends soon. */
export function forceClose(connection: Connection): void {
  if (connection.stage !== "running") return dropSocket(connection, "broker stopped");
  closeConnection(connection, new AmqpError(320, "broker forced connection closure"), 0);
  connection.resume?.();
}

/** Handles what is buffered; holds off further reading while memory or the peer's own reading demands it. */
async function handleInput(connection: Connection): Promise<void> {
  if (connection.stage === "header" && !acceptHeader(connection)) return;
  while (handleFrames(connection) === "blocked") {
    await pause(connection, new Promise<void>((resolve) => connection.resume = resolve));
  }
  if (connection.out.pendingBytes() > OVERFULL_BYTES) await pause(connection, connection.out.drained());
}

async function pause(connection: Connection, until: Promise<void>): Promise<void> {
  connection.paused = true;
  await until;
  connection.paused = false;
  connection.resume = undefined;
}

function acceptHeader(connection: Connection): boolean {
  const header = connection.frames.take(PROTOCOL_HEADER.byteLength);
  if (!header) return false;
  if (isProtocolHeader(header)) {
    sendStart(connection);
    return true;
  }
  connection.stage = "closing";
  connection.garbled = true;
  connection.reason = "not an AMQP 0-9-1 client";
  const writer = connection.out.writer();
  writer.bytes.set(PROTOCOL_HEADER, writer.at);
  writer.at += PROTOCOL_HEADER.byteLength;
  closeAfterFlush(connection);
  return true;
}

/** Gives back everything the connection held. */
function endConnection(connection: Connection): void {
  dropSocket(connection, "closed by the client without a word");
  clearTimeout(connection.deadline);
  clearInterval(connection.heartbeat);
  endChannels(connection);
  connection.log({ type: "connection closed", peer: connection.name, reason: connection.reason });
}

function resumeDeliveries(connection: Connection): void {
  if (!connection.congested || connection.out.pendingBytes() > CONGESTED_BYTES / 4) return;
  connection.congested = false;
  for (const channel of connection.channels.values()) wakeConsumers(channel);
}

function createPeer(connectionOf: () => Connection): Peer {
  return {
    send(channel, name, args) {
      const { out } = connectionOf();
      writeMethodFrame(out.writer(), channel, name, args);
      out.flushSoon();
    },
    sendContent(channel, name, args, content) {
      const { out, frameMax } = connectionOf();
      writeMethodFrame(out.writer(), channel, name, args);
      writeContentFrames(out.writer(), channel, content, frameMax);
      out.flushSoon();
    },
    congested() {
      const connection = connectionOf();
      connection.congested ||= connection.out.pendingBytes() > CONGESTED_BYTES;
      return connection.congested;
    },
    understandsCancel: () => connectionOf().capabilities.has("consumer_cancel_notify"),
    user: () => connectionOf().user,
    confirmLater: (channel: Channel) => void connectionOf().unconfirmed.push(channel),
  };
}
