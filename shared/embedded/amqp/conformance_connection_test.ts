import { assertEquals, assertObjectMatch, assertStringIncludes } from "@std/assert";
import { connect } from "amqplib";
import { channelClosed, conformanceTest, connectionClosed, until } from "./testdata/conformance.ts";
import { connectRaw, exchangeBytes } from "./testdata/raw_client.ts";

conformanceTest("connection.start names the broker and its capabilities", async (broker) => {
  const { connection } = await broker.connect();
  assertObjectMatch(connection.serverProperties, {
    capabilities: {
      publisher_confirms: true,
      "basic.nack": true,
      consumer_cancel_notify: true,
      "connection.blocked": true,
    },
  });
});

conformanceTest(
  "protocol header of another version is answered with the right one, then closed",
  async (broker) => {
    const answer = await exchangeBytes(broker.url, new TextEncoder().encode("AMQP\x01\x01\x00\x0a"));
    assertEquals([...answer], [0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]);
  },
);

conformanceTest("bytes that are no protocol header are answered with one, then closed", async (broker) => {
  const answer = await exchangeBytes(broker.url, new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
  assertEquals([...answer], [0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]);
});

conformanceTest("connection.open of an unknown virtual host is refused", async (broker) => {
  let message = "";
  await connect(`${broker.url}/no-such-host`).catch((error: Error) => message = error.message);
  assertStringIncludes(message, "ConnectionClose");
});

conformanceTest("frame-max and channel-max above the broker's are refused with 530", async (broker) => {
  for (const tune of [{ frameMax: 1_000_000, channelMax: 0 }, { frameMax: 0, channelMax: 65_535 }]) {
    const client = await connectRaw(broker.url, { ...tune, heartbeat: 0 });
    // RabbitMQ closes without a word here, after a while; a reason is friendlier.
    assertEquals(await client.closeCode(), broker.isEmbedded ? 530 : undefined);
    client.close();
  }
});

conformanceTest("frame-max is kept to by the broker and enforced on the client", async (broker) => {
  const connection = await connect(`${broker.url}?frameMax=4096`);
  const channel = await connection.createConfirmChannel();
  const queue = await broker.queue(channel);
  const body = crypto.getRandomValues(Buffer.alloc(10_000));
  channel.sendToQueue(queue, body);
  await channel.waitForConfirms();
  const message = await channel.get(queue, { noAck: true });
  assertEquals(message && [...message.content], [...body]); // the client refuses frames above its own frame-max
  await connection.close();

  const client = await connectRaw(broker.url, { frameMax: 4096, channelMax: 0, heartbeat: 0 });
  await client.expect("connection.open-ok");
  client.write(new Uint8Array([1, 0, 1, 0, 0, 0x14, 0])); // the beginning of a method frame of 5 KiB
  assertEquals(await client.closeCode(), 501);
  client.close();
});

conformanceTest("channel errors close their channel only", async (broker) => {
  const connection = await broker.connect();
  const [doomed, other] = [await connection.createChannel(), await connection.createChannel()];
  const reason = await channelClosed(doomed, () => doomed.checkQueue(broker.unique("missing")));
  assertEquals(reason.code, 404);
  await other.assertQueue(broker.unique("fine"));
  const again = await connection.createChannel(); // the number of the closed channel can be used anew
  await again.assertQueue(broker.unique("fine"));
});

conformanceTest("connection errors close their connection only", async (broker) => {
  const [doomed, other] = [await broker.connect(), await broker.connect()];
  const channel = await doomed.createChannel();
  const reason = await connectionClosed(
    doomed,
    () => channel.assertExchange(broker.unique("x"), "no-such-type"),
  );
  assertEquals(reason.code, 503);
  assertStringIncludes(reason.message, "exchange type 'no-such-type'");
  await (await other.createChannel()).assertQueue(broker.unique("fine"));
});

conformanceTest("a method on a channel that is not open closes the connection with 504", async (broker) => {
  const client = await connectRaw(broker.url);
  await client.expect("connection.open-ok");
  client.send(7, "confirm.select", { noWait: false });
  assertEquals(await client.closeCode(), 504);
  client.close();
});

conformanceTest("opening a channel twice closes the connection with 504", async (broker) => {
  const client = await connectRaw(broker.url);
  await client.expect("connection.open-ok");
  client.send(1, "channel.open", { outOfBand: "" });
  client.send(1, "channel.open", { outOfBand: "" });
  await client.expect("channel.open-ok");
  assertEquals(await client.closeCode(), 504);
  client.close();
});

conformanceTest("a method amid a message's content closes the connection with 505", async (broker) => {
  const client = await connectRaw(broker.url);
  await client.expect("connection.open-ok");
  client.send(1, "channel.open", { outOfBand: "" });
  const publish = { ticket: 0, exchange: "", routingKey: "nowhere", mandatory: false, immediate: false };
  client.send(1, "basic.publish", publish);
  client.send(1, "basic.publish", publish);
  await client.expect("channel.open-ok");
  assertEquals(await client.closeCode(), 505);
  client.close();
});

conformanceTest("a frame without its end octet closes the connection", async (broker) => {
  const client = await connectRaw(broker.url);
  await client.expect("connection.open-ok");
  client.write(new Uint8Array([8, 0, 0, 0, 0, 0, 0, 0xff]));
  await client.closed();
  client.close();
});

conformanceTest("channel.flow is answered; stopping the flow is not served", async (broker) => {
  const client = await connectRaw(broker.url);
  await client.expect("connection.open-ok");
  client.send(1, "channel.open", { outOfBand: "" });
  await client.expect("channel.open-ok");
  client.send(1, "channel.flow", { active: true });
  assertEquals((await client.expect("channel.flow-ok")).active, true);
  client.send(1, "channel.flow", { active: false });
  assertEquals(await client.closeCode(), 540);
  client.close();
});

conformanceTest("heartbeats keep an idle connection open, and a silent peer is dropped", async (broker) => {
  const idle = await connect(`${broker.url}?heartbeat=1`, { noDelay: true });
  let error: Error | undefined;
  idle.on("error", (reason: Error) => error = reason);
  const silent = await connectRaw(broker.url, { frameMax: 0, channelMax: 0, heartbeat: 1 });
  await silent.expect("connection.open-ok");
  await silent.heartbeat();
  await silent.closed(); // after two intervals without a byte from it
  silent.close();
  assertEquals(error, undefined);
  await (await idle.createChannel()).close();
  await idle.close();
});

conformanceTest("two hundred connections are served side by side", async (broker) => {
  const channel = await broker.channel();
  const queue = await broker.queue(channel);
  const connections = await Promise.all(Array.from({ length: 200 }, () => broker.connect()));
  await Promise.all(connections.map(async (connection) => {
    const publisher = await connection.createConfirmChannel();
    publisher.sendToQueue(queue, Buffer.from("one each"));
    await publisher.waitForConfirms();
  }));
  await until("all messages", async () => (await channel.checkQueue(queue)).messageCount === 200);
});
