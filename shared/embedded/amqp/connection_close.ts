import { AmqpError } from "./amqp_error.ts";
import { endChannel, sendConfirms } from "./channel.ts";
import { type Connection, dropSocket, sendOnConnection, setDeadline } from "./connection_state.ts";
import { deleteQueue } from "./topology.ts";

/** Closes what an error concerns, the channel or the whole connection; `methodKey` names the method at fault. */
export function closeFor(
  connection: Connection,
  channelId: number,
  error: AmqpError,
  methodKey: number,
): void {
  const channel = connection.channels.get(channelId);
  if (error.closesConnection || !channel) return closeConnection(connection, error, methodKey);
  sendConfirms(channel);
  channel.closing = true;
  endChannel(channel);
  connection.peer.send(channelId, "channel.close", closeArguments(error, methodKey));
  connection.log({
    type: "channel closed",
    peer: connection.name,
    channel: channelId,
    reason: error.message,
  });
}

/** Sends `connection.close`; the client has a set time to answer it. */
export function closeConnection(connection: Connection, error: AmqpError, methodKey: number): void {
  if (connection.stage === "closing" || connection.stage === "closed") return;
  connection.stage = "closing";
  connection.reason = error.message;
  endChannels(connection);
  sendOnConnection(connection, "connection.close", closeArguments(error, methodKey));
  setDeadline(connection, connection.limits.closeTimeoutMs, error.message);
}

/** Answers the client's `connection.close` and closes the socket once the answer is out. */
export function answerClose(connection: Connection): void {
  sendOnConnection(connection, "connection.close-ok", {});
  connection.stage = "closing";
  connection.garbled = true;
  connection.reason ||= "closed by the client";
  closeAfterFlush(connection);
}

/** Closes the socket once everything written has gone out, or after a set time. */
export function closeAfterFlush(connection: Connection): void {
  setDeadline(connection, connection.limits.closeTimeoutMs, connection.reason);
  connection.out.flushSoon();
  connection.out.drained().then(() => dropSocket(connection, connection.reason));
}

/** Ends all channels and what belongs to the connection alone: its exclusive queues. */
export function endChannels(connection: Connection): void {
  for (const channel of connection.channels.values()) {
    channel.closing = true;
    endChannel(channel);
  }
  connection.channels.clear();
  for (const queue of [...connection.broker.queues.values()]) {
    if (queue.owner === connection) deleteQueue(connection.broker, queue);
  }
}

function closeArguments(error: AmqpError, methodKey: number) {
  const ids = { classId: methodKey >>> 16, methodId: methodKey & 0xffff };
  return { replyCode: error.code, replyText: error.message, ...ids };
}

/** What the peer is told of an error: anything but an AMQP error is a fault of ours, 541. */
export function asAmqpError(error: unknown): AmqpError {
  if (error instanceof AmqpError) return error;
  return new AmqpError(541, error instanceof Error ? error.message : String(error));
}
