/**
 * Sends messages straight to a queue, past the outbox and the exchange, as nothing in the system does.
 *
 * @module
 */
import { connect } from "amqplib";
import { createPublisher, type OutgoingMessage, toQueue } from "../../shared/broker/publish.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import { eventually } from "../support/eventually.ts";

const CONNECT_MS = 5000;
const CONFIRM_MS = 5000;
const CLOSE_MS = 1000;
/** Longer than any fault lasts. */
const GIVE_UP_MS = 60_000;

/**
 * Sends until the broker has confirmed every message; what has no answer is sent again, and may arrive twice.
 *
 * Errors: when the broker has not taken all of them within a minute.
 */
export async function sendToQueue(
  url: string,
  queue: string,
  messages: readonly OutgoingMessage[],
): Promise<void> {
  let left = messages;
  await eventually(`${queue} to take ${messages.length} messages`, async () => {
    const taken = new Set(await sendOnce(url, queue, left));
    left = left.filter(({ id }) => !taken.has(id));
    return left.length === 0;
  }, GIVE_UP_MS);
}

async function sendOnce(
  url: string,
  queue: string,
  messages: readonly OutgoingMessage[],
): Promise<readonly string[]> {
  const connection = await connect(url, { noDelay: true, timeout: CONNECT_MS });
  connection.on("error", () => {}); // it may be wiped in the middle: the publisher has no answer then
  try {
    const channel = await connection.createConfirmChannel();
    channel.on("error", () => {});
    const { confirmed } = await createPublisher(channel).publish(messages, toQueue(queue), CONFIRM_MS);
    return confirmed;
  } finally {
    // A broker that is killed in the middle of a close leaves the client waiting for its answer for good.
    await withTimeout(CLOSE_MS, connection.close().catch(() => {}));
  }
}
