import { AmqpError } from "./amqp_error.ts";
import { createChannel, endChannel, sendConfirms } from "./channel.ts";
import { handleChannelMethod } from "./channel_methods.ts";
import { receiveBody, receiveHeader } from "./channel_publish.ts";
import { answerClose, asAmqpError, closeConnection, closeFor } from "./connection_close.ts";
import { type Connection, dropSocket, sendOnConnection } from "./connection_state.ts";
import { FRAME, type Frame } from "./frame_reader.ts";
import { continueHandshake } from "./handshake.ts";
import { BASIC_PUBLISH_KEY, type Method, readMethod } from "./method_codec.ts";

/**
 * Handles every whole frame that is buffered; "blocked" when it stopped before a publish that must wait for
 * memory. Errors close their channel or the connection; none is thrown.
 */
export function handleFrames(connection: Connection): "done" | "blocked" {
  try {
    for (;;) {
      if (connection.garbled || connection.stage === "closed") {
        connection.frames.discard();
        return "done";
      }
      const frame = peekFrame(connection);
      if (!frame) return "done";
      if (mustWait(connection, frame)) return "blocked";
      connection.frames.drop();
      handleFrame(connection, frame);
    }
  } finally {
    for (const channel of connection.unconfirmed.splice(0)) sendConfirms(channel);
  }
}

/** The next frame, if it has come; closes the connection on bytes that are none. */
function peekFrame(connection: Connection): Frame | undefined {
  try {
    return connection.frames.peek();
  } catch (error) {
    connection.garbled = true;
    connection.frames.discard();
    closeConnection(connection, asAmqpError(error), 0);
    return undefined;
  }
}

/** While memory is short, a connection is read up to its next publish, so that acknowledgements still arrive. */
function mustWait(connection: Connection, frame: Frame): boolean {
  if (frame.type !== FRAME.method || connection.stage !== "running") return false;
  const { view, at, end } = frame.payload;
  if (end - at < 4 || view.getUint32(at) !== BASIC_PUBLISH_KEY) return false;
  connection.publishes = true;
  if (!connection.broker.memory.raised()) return false;
  setMemoryAlarm(connection, true);
  return true;
}

function handleFrame(connection: Connection, frame: Frame): void {
  let methodKey = BASIC_PUBLISH_KEY; // whose frames headers and bodies are
  try {
    if (frame.type === FRAME.heartbeat) return;
    if (frame.type !== FRAME.method) return handleContent(connection, frame);
    const { view, at, end } = frame.payload;
    methodKey = end - at < 4 ? 0 : view.getUint32(at);
    handleMethod(connection, frame.channel, readMethod(frame.payload));
  } catch (error) {
    closeFor(connection, frame.channel, asAmqpError(error), methodKey);
  }
}

function handleContent(connection: Connection, frame: Frame): void {
  if (connection.stage === "closing") return;
  const channel = connection.channels.get(frame.channel);
  if (!channel) throw new AmqpError(504, `content on channel ${frame.channel}, which is not open`);
  if (channel.closing) return;
  if (frame.type === FRAME.header) receiveHeader(channel, frame.payload);
  else receiveBody(channel, frame.payload);
}

function handleMethod(connection: Connection, channelId: number, method: Method): void {
  if (connection.stage === "closing") {
    if (method.name === "connection.close-ok") dropSocket(connection, "closed");
    else if (method.name === "connection.close") answerClose(connection);
    return;
  }
  if (channelId === 0) return handleConnectionMethod(connection, method);
  if (connection.stage !== "running") throw new AmqpError(503, `${method.name} before connection.open`);
  const channel = connection.channels.get(channelId);
  if (!channel) return openChannel(connection, channelId, method);
  if (method.name === "channel.close-ok" && channel.closing) {
    connection.channels.delete(channelId);
  } else if (method.name === "channel.close") {
    sendConfirms(channel);
    endChannel(channel);
    connection.channels.delete(channelId);
    connection.peer.send(channelId, "channel.close-ok", {});
  } else if (!channel.closing) {
    if (method.name === "channel.open") throw new AmqpError(504, "second 'channel.open' seen");
    if (channel.incoming) throw new AmqpError(505, `${method.name} amid the content of a message`);
    handleChannelMethod(channel, method);
  }
}

function handleConnectionMethod(connection: Connection, method: Method): void {
  if (method.name === "connection.close") return answerClose(connection);
  if (connection.stage !== "running") return continueHandshake(connection, method);
  throw new AmqpError(503, `${method.name} on channel 0`);
}

function openChannel(connection: Connection, id: number, method: Method): void {
  if (method.name !== "channel.open") throw new AmqpError(504, "expected 'channel.open'");
  if (id > connection.channelMax) {
    throw new AmqpError(504, `channel ${id} is above the negotiated channel-max of ${connection.channelMax}`);
  }
  connection.channels.set(id, createChannel(id, connection.peer, connection, connection.broker));
  connection.peer.send(id, "channel.open-ok", { channelId: new Uint8Array() });
}

/** Tells a publishing connection that the memory alarm was raised or cleared, and reads on in the latter case. */
export function setMemoryAlarm(connection: Connection, raised: boolean): void {
  if (connection.stage === "running" && connection.capabilities.has("connection.blocked")) {
    if (raised && connection.publishes && !connection.toldBlocked) {
      connection.toldBlocked = true;
      sendOnConnection(connection, "connection.blocked", { reason: "low on memory" });
    }
    if (!raised && connection.toldBlocked) {
      connection.toldBlocked = false;
      sendOnConnection(connection, "connection.unblocked", {});
    }
  }
  if (!raised) connection.resume?.();
}
