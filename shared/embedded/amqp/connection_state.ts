import type { Broker } from "./broker.ts";
import type { Channel, Peer } from "./channel.ts";
import type { FrameReader } from "./frame_reader.ts";
import type { MethodArguments } from "./method_codec.ts";
import type { MethodName } from "./method_table.ts";
import type { Outgoing } from "./outgoing.ts";

/** What the broker grants each connection. */
export type ConnectionLimits = {
  /** Bytes of a frame, overhead included. */
  readonly frameMax: number;
  readonly channelMax: number;
  /** Seconds between heartbeats, as suggested to the client; the client decides. */
  readonly heartbeatSeconds: number;
  /** How long a client may take from its first byte to `connection.open`. */
  readonly handshakeTimeoutMs: number;
  /** How long a client may take to answer `connection.close`. */
  readonly closeTimeoutMs: number;
};

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

/** How far a connection has come; the handshake's stages are named after what is awaited. */
export type ConnectionStage = "header" | "start-ok" | "tune-ok" | "open" | "running" | "closing" | "closed";

/** A client's connection. */
export type Connection = {
  readonly socket: Deno.TcpConn;
  /** The client's address and port. */
  readonly name: string;
  readonly broker: Broker;
  readonly limits: ConnectionLimits;
  readonly log: (event: ConnectionEvent) => void;
  /** Throws an AMQP error when the broker has as many open connections as it may. */
  readonly admit: () => void;
  readonly frames: FrameReader;
  readonly out: Outgoing;
  readonly peer: Peer;
  readonly channels: Map<number, Channel>;
  /** Channels with published messages to confirm once the input at hand is handled. */
  readonly unconfirmed: Channel[];
  stage: ConnectionStage;
  frameMax: number;
  channelMax: number;
  user: string;
  /** What the client said it understands. */
  capabilities: ReadonlySet<string>;
  /** How often bytes came from the client. */
  reads: number;
  /** Deliveries wait until the client has read more. */
  congested: boolean;
  /** Whether it ever published: only then does memory pressure concern it. */
  publishes: boolean;
  toldBlocked: boolean;
  /** Whether reading is put off, on purpose: the peer's silence means nothing then. */
  paused: boolean;
  /** Ends a pause that waits for memory. */
  resume: (() => void) | undefined;
  /** The bytes that come no longer make sense, and are thrown away until the client has closed. */
  garbled: boolean;
  /** Why it closed. */
  reason: string;
  /** Time limit of the handshake, later of the closing. */
  deadline: ReturnType<typeof setTimeout> | undefined;
  heartbeat: ReturnType<typeof setInterval> | undefined;
};

/** Sends a method on channel 0. */
export function sendOnConnection<N extends MethodName>(
  connection: Connection,
  name: N,
  args: MethodArguments<N>,
): void {
  connection.peer.send(0, name, args);
}

/** Closes the socket after `milliseconds`, unless the deadline is set anew or cleared first. */
export function setDeadline(connection: Connection, milliseconds: number, reason: string): void {
  clearTimeout(connection.deadline);
  connection.deadline = setTimeout(() => dropSocket(connection, reason), milliseconds);
}

/** Ends the connection without another word: reading and writing fail from now on. */
export function dropSocket(connection: Connection, reason: string): void {
  if (connection.stage === "closed") return;
  connection.stage = "closed";
  connection.reason ||= reason;
  try {
    connection.socket.close();
  } catch {
    // closed by the other side meanwhile
  }
  connection.resume?.();
}
