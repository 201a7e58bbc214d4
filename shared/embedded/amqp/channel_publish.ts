import { AmqpError } from "./amqp_error.ts";
import { publish } from "./broker.ts";
import { type ByteReader, readBytes, readUint16, readUint64 } from "./byte_reader.ts";
import { abandonIncoming, type Channel, type IncomingMessage, sendConfirms } from "./channel.ts";
import { checkProperties } from "./content_properties.ts";
import type { Message } from "./message.ts";
import type { MethodArguments } from "./method_codec.ts";

const BASIC_CLASS = 60;

/** Begins a message: `basic.publish` came, its header and body are still to come. */
export function beginMessage(channel: Channel, args: MethodArguments<"basic.publish">): void {
  if (args.immediate) throw new AmqpError(540, "immediate=true");
  channel.incoming = {
    publish: args,
    properties: undefined,
    expiration: undefined,
    bodySize: 0,
    body: [],
    receivedBytes: 0,
  };
}

/**
 * Takes a content header.
 *
 * Throws {@linkcode AmqpError} 505 when none was due, 502 when it is malformed, 406 when its expiration is not a
 * whole number, its user id not the connection's, or the body too long.
 */
export function receiveHeader(channel: Channel, payload: ByteReader): void {
  const { incoming } = channel;
  if (!incoming || incoming.properties) throw new AmqpError(505, "content header where none was expected");
  if (readUint16(payload) !== BASIC_CLASS) {
    throw new AmqpError(505, "content header of another class than basic");
  }
  readUint16(payload); // weight, unused
  incoming.bodySize = readUint64(payload);
  incoming.properties = readBytes({ ...payload }, payload.end - payload.at);
  const summary = checkProperties(payload);
  const most = channel.broker.limits.messageBytes;
  if (incoming.bodySize > most) {
    throw new AmqpError(406, `message size ${incoming.bodySize} is larger than configured max size ${most}`);
  }
  checkUser(channel, summary.userId);
  incoming.expiration = parseExpiration(summary.expiration);
  if (incoming.bodySize === 0) finishMessage(channel, incoming, incoming.properties);
}

/**
 * Takes a piece of the body; the message is published with its last one.
 *
 * Throws {@linkcode AmqpError} 505 when no body was due, 502 when it is longer than announced, 506 when messages
 * still on their way take so much memory that waiting for their publishers would not bound it.
 */
export function receiveBody(channel: Channel, payload: ByteReader): void {
  const { incoming } = channel;
  if (!incoming?.properties) throw new AmqpError(505, "content body where none was expected");
  const length = payload.end - payload.at;
  if (length === 0) return;
  if (incoming.receivedBytes + length > incoming.bodySize) {
    throw new AmqpError(502, `content body longer than the ${incoming.bodySize} bytes announced`);
  }
  if (channel.broker.memory.exhausted()) throw new AmqpError(506, "out of memory for messages on their way");
  incoming.body.push(readBytes(payload, length));
  incoming.receivedBytes += length;
  channel.broker.memory.charge(length);
  if (incoming.receivedBytes === incoming.bodySize) finishMessage(channel, incoming, incoming.properties);
}

function finishMessage(
  channel: Channel,
  incoming: IncomingMessage,
  properties: Uint8Array<ArrayBuffer>,
): void {
  const { exchange, routingKey, mandatory } = incoming.publish;
  const message: Message = {
    exchange,
    routingKey,
    properties,
    body: incoming.body,
    bodySize: incoming.bodySize,
    expiration: incoming.expiration,
    references: 0,
  };
  const outcome = publish(channel.broker, message);
  abandonIncoming(channel); // only now: its memory is the message's by now, and the alarm does not flicker
  if (outcome === "unroutable" && mandatory) {
    const args = { replyCode: 312, replyText: "NO_ROUTE", exchange, routingKey };
    channel.peer.sendContent(channel.id, "basic.return", args, message);
  }
  if (!channel.confirms) return;
  if (outcome === "refused") refuse(channel, channel.confirms);
  else if (channel.confirms.published++ === channel.confirms.confirmed) channel.peer.confirmLater(channel);
}

/** A refusal has a frame of its own, after the confirms of everything before it. */
function refuse(channel: Channel, confirms: { published: number; confirmed: number }): void {
  sendConfirms(channel);
  confirms.confirmed = ++confirms.published;
  const args = { deliveryTag: confirms.published, multiple: false, requeue: false };
  channel.peer.send(channel.id, "basic.nack", args);
}

function checkUser(channel: Channel, userId: string | undefined): void {
  const user = channel.peer.user();
  if (userId === undefined || userId === user) return;
  throw new AmqpError(406, `user_id property set to '${userId}' but authenticated user was '${user}'`);
}

function parseExpiration(expiration: string | undefined): number | undefined {
  if (expiration === undefined) return undefined;
  const milliseconds = /^-?\d{1,15}$/.test(expiration) ? Number(expiration) : NaN;
  if (milliseconds >= 0) return milliseconds;
  const why = Number.isNaN(milliseconds) ? "no_integer" : `{value_negative,${milliseconds}}`;
  throw new AmqpError(406, `invalid expiration '${expiration}': ${why}`);
}
