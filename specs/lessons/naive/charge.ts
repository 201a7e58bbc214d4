// A consumer in ten lines, without an inbox: it charges whenever it is told of an order. Lesson 4 runs it beside the real
// one, on a queue of its own that is gone with it.

import { connect } from "amqplib";
import { parseEvent } from "../../../shared/events.ts";
import { readConfig } from "../../../shared/process/config.ts";

const { AMQP_URL, RABBITMQ_EXCHANGE } = readConfig(
  ["AMQP_URL", "RABBITMQ_EXCHANGE"],
  (name) => Deno.env.get(name),
);
const channel = await (await connect(AMQP_URL)).createChannel();
const { queue } = await channel.assertQueue("", { exclusive: true });
await channel.bindQueue(queue, RABBITMQ_EXCHANGE, "order.created");
await channel.consume(queue, (message) => {
  if (message === null) return;
  const parsed = parseEvent(message.content);
  if (parsed.ok && parsed.event.type === "order.created") {
    console.log(`charged ${parsed.event.data.amount} for order ${parsed.event.data.orderId}`);
  }
  channel.ack(message);
});
console.log("ready");
