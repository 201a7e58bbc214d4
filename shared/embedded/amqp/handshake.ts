import { AmqpError } from "./amqp_error.ts";
import { type Connection, dropSocket, sendOnConnection } from "./connection_state.ts";
import { type FieldTable, type FieldValue, tableValue } from "./field_table.ts";
import { startHeartbeat } from "./heartbeat.ts";
import type { Method, MethodArguments } from "./method_codec.ts";

/** What a client opens the conversation with: `AMQP`, 0, 0, 9, 1 (AMQP 0-9-1, section 4.2.2). */
export const PROTOCOL_HEADER: Uint8Array = new Uint8Array([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]);

/** The smallest frame-max that both sides must accept (section 4.9, constant frame-min-size). */
const FRAME_MIN_SIZE = 4096;

const CAPABILITIES = [
  "publisher_confirms",
  "exchange_exchange_bindings",
  "basic.nack",
  "consumer_cancel_notify",
  "connection.blocked",
  "authentication_failure_close",
  "per_consumer_qos",
];

/** Whether these eight bytes are the header of AMQP 0-9-1. */
export function isProtocolHeader(bytes: Uint8Array): boolean {
  return PROTOCOL_HEADER.every((byte, index) => bytes[index] === byte);
}

/** Sends `connection.start`, with which the handshake begins. */
export function sendStart(connection: Connection): void {
  const encoder = new TextEncoder();
  sendOnConnection(connection, "connection.start", {
    versionMajor: 0,
    versionMinor: 9,
    serverProperties: serverProperties(),
    mechanisms: encoder.encode("PLAIN"),
    locales: encoder.encode("en_US"),
  });
  connection.stage = "start-ok";
}

/**
 * Takes the client's next step of the handshake: `start-ok`, `tune-ok`, `open`, in this order.
 *
 * Throws {@linkcode AmqpError} 503 when it is another method's turn, 403 on other mechanisms than PLAIN, 530 on
 * an unknown virtual host or limits above the broker's.
 */
export function continueHandshake(connection: Connection, method: Method): void {
  if (connection.stage === "start-ok" && method.name === "connection.start-ok") {
    return acceptStart(connection, method.args);
  }
  if (connection.stage === "tune-ok" && method.name === "connection.tune-ok") {
    return acceptTune(connection, method.args);
  }
  if (connection.stage === "open" && method.name === "connection.open") {
    return acceptOpen(connection, method.args.virtualHost);
  }
  throw new AmqpError(503, `${method.name} while waiting for connection.${connection.stage}`);
}

function acceptStart(connection: Connection, args: MethodArguments<"connection.start-ok">): void {
  if (args.mechanism !== "PLAIN") {
    throw new AmqpError(403, `authentication mechanism '${args.mechanism}' is not served, only PLAIN`);
  }
  connection.user = plainUser(args.response);
  connection.capabilities = clientCapabilities(args.clientProperties);
  const { channelMax, frameMax, heartbeatSeconds } = connection.limits;
  sendOnConnection(connection, "connection.tune", { channelMax, frameMax, heartbeat: heartbeatSeconds });
  connection.stage = "tune-ok";
}

function acceptTune(connection: Connection, args: MethodArguments<"connection.tune-ok">): void {
  const { limits } = connection;
  connection.frameMax = negotiated("frame_max", args.frameMax, limits.frameMax);
  connection.channelMax = negotiated("channel_max", args.channelMax, limits.channelMax);
  if (connection.frameMax < FRAME_MIN_SIZE) {
    throw new AmqpError(
      530,
      `negotiated frame_max = ${connection.frameMax} is lower than the minimum allowed value (${FRAME_MIN_SIZE})`,
    );
  }
  connection.frames.setFrameMax(connection.frameMax);
  startHeartbeat(connection, args.heartbeat, () => dropSocket(connection, "missed heartbeats"));
  connection.stage = "open";
}

function acceptOpen(connection: Connection, virtualHost: string): void {
  if (virtualHost !== "/") throw new AmqpError(530, `vhost ${virtualHost} not found`);
  connection.admit();
  clearTimeout(connection.deadline);
  connection.stage = "running";
  sendOnConnection(connection, "connection.open-ok", { knownHosts: "" });
  connection.log({ type: "connection opened", peer: connection.name, user: connection.user });
}

/** Zero means "no limit", which is the broker's own. */
function negotiated(name: string, wanted: number, most: number): number {
  if (wanted > most) {
    throw new AmqpError(
      530,
      `negotiated ${name} = ${wanted} is higher than the maximum allowed value (${most})`,
    );
  }
  return wanted || most;
}

/** The user of a PLAIN response: `[authzid] NUL user NUL password` (RFC 4616). The password is not looked at. */
function plainUser(response: Uint8Array): string {
  const parts = new TextDecoder().decode(response).split("\0");
  const user = parts[1];
  if (parts.length !== 3 || user === undefined) {
    throw new AmqpError(502, "PLAIN response without user and password");
  }
  return user;
}

function clientCapabilities(properties: FieldTable): ReadonlySet<string> {
  const field = tableValue(properties, "capabilities");
  const table = field?.type === "F" ? field.value : [];
  return new Set(table.filter(([, value]) => value.type === "t" && value.value).map(([name]) => name));
}

function serverProperties(): FieldTable {
  const text = (value: string): FieldValue => ({ type: "S", value });
  return [
    ["capabilities", { type: "F", value: CAPABILITIES.map((name) => [name, { type: "t", value: true }]) }],
    ["product", text("OrderFlow embedded broker")],
    ["version", text("1.0.0")],
    ["platform", text("Deno")],
    ["information", text("In memory, for development and tests")],
  ];
}
