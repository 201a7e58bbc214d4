import { assert, assertEquals } from "@std/assert";
import { type ChannelModel, type ConfirmChannel, connect } from "amqplib";
import { EventEmitter } from "node:events";
import { Socket } from "node:net";
import { testBroker } from "../../specs/support/test_broker.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { connectBroker } from "./connection.ts";
import { createPublisher, type OutgoingMessage, toQueue } from "./publish.ts";

function message(id: string): OutgoingMessage {
  return { id, type: null, correlationId: null, traceparent: null, occurredAt: null, body: "{}" };
}

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
  const send = (queue: string) => publisher.publish([message("e")], toQueue(queue), 5000);
  const sent = [send("there"), send("missing"), send("missing"), send("there")];
  confirm();
  const refused = (await Promise.all(sent)).map(({ refused }) => refused.length);
  assertEquals(refused, [0, 1, 1, 0]);
});

Deno.test("a publisher tells once of a batch with nacks, and not of one that the broker takes or returns", async () => {
  await using broker = await testBroker();
  const connection = await connect(broker.url);
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue("", {
    exclusive: true,
    arguments: { "x-max-length": 1, "x-overflow": "reject-publish" },
  });
  let nacks = 0;
  const publisher = createPublisher(channel, () => nacks++);
  const taken = await publisher.publish([message("a")], toQueue(queue), 5000);
  assertEquals([taken.confirmed, nacks], [["a"], 0]);
  const returned = await publisher.publish([message("b")], toQueue(`no ${queue}`), 5000);
  assertEquals([returned.refused.map(({ id }) => id), nacks], [["b"], 0]);
  const nacked = await publisher.publish([message("c"), message("d")], toQueue(queue), 5000);
  assertEquals([nacked.refused.map(({ id }) => id).toSorted(), nacks], [["c", "d"], 1]);
  await connection.close();
});

/** Counts what is written to a socket: one system call each. */
function countWrites(socket: Socket): () => number {
  let writes = 0;
  const { _write, _writev } = socket;
  socket._write = (...args) => (writes++, _write.apply(socket, args));
  socket._writev = (...args) => (writes++, _writev?.apply(socket, args));
  return () => writes;
}

Deno.test("a batch leaves the process as a whole, and a single message at once", async () => {
  await using broker = await testBroker();
  const { promise, resolve } = Promise.withResolvers<ConfirmChannel>();
  const setup = async (model: ChannelModel) => resolve(await model.createConfirmChannel());
  const connection = connectBroker({ url: broker.url, name: "test", log: testLog, setup });
  const channel = await promise;
  const socket = "stream" in channel.connection && channel.connection.stream;
  assert(socket instanceof Socket, "the client keeps its socket elsewhere now: see sendTogether");
  const { queue } = await channel.assertQueue("", { exclusive: true });
  const publisher = createPublisher(channel);
  const writes = countWrites(socket);
  const batch = Array.from({ length: 1000 }, (_, i) => ({ ...message(String(i)), body: "x".repeat(500) }));
  const { confirmed } = await publisher.publish(batch, toQueue(queue), 5000);
  assertEquals([confirmed.length, writes()], [1000, 1]);
  await publisher.publish([message("alone")], toQueue(queue), 5000);
  assertEquals([writes(), socket.writableCorked], [2, 0]);
  await connection.close();
});
