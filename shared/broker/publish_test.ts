import { assertEquals } from "@std/assert";
import type { ConfirmChannel } from "amqplib";
import { EventEmitter } from "node:events";
import { createPublisher, type OutgoingMessage, toQueue } from "./publish.ts";

/** A channel whose broker confirms several messages at once, as RabbitMQ does, and has returned those to `missing` before. */
function batchingChannel(missing: string) {
  const confirms: (() => void)[] = [];
  const channel = Object.assign(new EventEmitter(), {
    publish(
      exchange: string,
      routingKey: string,
      _: unknown,
      properties: object,
      onAnswer: (e: null) => void,
    ) {
      confirms.push(() => onAnswer(null));
      const fields = { exchange, routingKey, replyText: "NO_ROUTE" };
      if (routingKey === missing) channel.emit("return", { fields, properties });
    },
  });
  return { channel: channel as unknown as ConfirmChannel, confirm: () => confirms.forEach((one) => one()) };
}

Deno.test("a return is booked on the copy that came back, where two tasks send the same event over one channel", async () => {
  const { channel, confirm } = batchingChannel("missing");
  const publisher = createPublisher(channel);
  const message: OutgoingMessage = {
    id: "e",
    type: "t",
    correlationId: null,
    traceparent: null,
    occurredAt: null,
    body: "{}",
  };
  const send = (queue: string) => publisher.publish([message], toQueue(queue), 5000);
  const sent = [send("there"), send("missing"), send("missing"), send("there")];
  confirm();
  const refused = (await Promise.all(sent)).map(({ refused }) => refused.length);
  assertEquals(refused, [0, 1, 1, 0]);
});
