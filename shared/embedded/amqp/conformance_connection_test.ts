import { assertEquals, assertObjectMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { connect } from "amqplib";
import { closeReason, conformanceTest, until } from "./testdata/conformance.ts";
import { connectRaw, connectWithChannel, exchangeBytes, type RawClient } from "./testdata/raw_client.ts";

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

conformanceTest("anything but the protocol header is answered with one, then closed", async (broker) => {
  const expected = await broker.isRabbitMq3() ? [0, 0, 9, 1] : [3, 1, 0, 0];
  for (const text of ["AMQP\x01\x01\x00\x0a", "GET / HTTP/1.1\r\n\r\n"]) {
    const answer = await exchangeBytes(broker.url, new TextEncoder().encode(text));
    assertEquals([...answer], [...new TextEncoder().encode("AMQP"), ...expected]);
  }
});

conformanceTest("a wrong user or password is refused with 403", async (broker) => {
  const { host, username, password } = new URL(broker.url);
  for (const login of [`nobody:${password}`, `${username}:wrong`, `${username}:`]) {
    const { message } = await assertRejects(() => connect(`amqp://${login}@${host}`), Error);
    assertStringIncludes(message, '403 (ACCESS-REFUSED) with message "ACCESS_REFUSED - Login was refused');
  }
});

conformanceTest("an unknown virtual host is refused with 530", async (broker) => {
  const client = await connectRaw(broker.url, {}, "no-such-host");
  assertEquals(await client.closeCode(), 530);
  client.close();
});

conformanceTest("frame-max and channel-max above the broker's are refused with 530", async (broker) => {
  for (const tune of [{ frameMax: 1_000_000 }, { channelMax: 65_535 }]) {
    const client = await connectRaw(broker.url, tune);
    // RabbitMQ closes without a word here, after a while; a reason is friendlier.
    assertEquals(await client.closeCode(), broker.isEmbedded ? 530 : undefined);
    client.close();
  }
});

conformanceTest("frame-max is kept to by the broker and enforced on the client", async (broker) => {
  const connection = await connect(`${broker.url}?frameMax=8192`);
  const channel = await connection.createConfirmChannel();
  const queue = await broker.queue(channel);
  const body = crypto.getRandomValues(Buffer.alloc(20_000));
  channel.sendToQueue(queue, body);
  await channel.waitForConfirms();
  const message = await channel.get(queue, { noAck: true });
  assertEquals(message && [...message.content], [...body]); // the client refuses frames above its own frame-max
  await connection.close();

  const client = await connectRaw(broker.url, { frameMax: 8192 });
  await client.expect("connection.open-ok");
  client.write(new Uint8Array([1, 0, 1, 0, 0, 0x28, 0])); // the beginning of a method frame of 10 KiB
  assertEquals(await client.closeCode(), 501);
  client.close();
});

conformanceTest("channel errors close their channel only", async (broker) => {
  const connection = await broker.connect();
  const [doomed, other] = [await connection.createChannel(), await connection.createChannel()];
  const reason = await closeReason(doomed, () => doomed.checkQueue(broker.unique("missing")));
  assertEquals(reason.code, 404);
  await other.assertQueue(broker.unique("fine"));
  const again = await connection.createChannel(); // the number of the closed channel can be used anew
  await again.assertQueue(broker.unique("fine"));
});

conformanceTest("connection errors close their connection only", async (broker) => {
  const [doomed, other] = [await broker.connect(), await broker.connect()];
  const channel = await doomed.createChannel();
  const queue = await broker.queue(channel);
  const reuse = () => Promise.all([1, 2].map(() => channel.consume(queue, () => {}, { consumerTag: "one" })));
  assertEquals((await closeReason(doomed, reuse)).code, 530);
  await (await other.createChannel()).checkQueue(queue);
});

conformanceTest("methods out of turn close the connection with 504 and 505", async (broker) => {
  const publish = { ticket: 0, exchange: "", routingKey: "nowhere", mandatory: false, immediate: false };
  const cases: [number, (client: RawClient) => void][] = [
    [504, (client) => client.send(7, "confirm.select", { noWait: false })], // on a channel that is not open
    [504, (client) => client.send(1, "channel.open", { outOfBand: "" })], // which is open
    [505, (client) => {
      client.send(1, "basic.publish", publish);
      client.send(1, "basic.publish", publish); // where the content of the first should be
    }],
  ];
  for (const [code, action] of cases) {
    const client = await connectWithChannel(broker.url);
    action(client);
    assertEquals(await client.closeCode(), code);
    client.close();
  }
});

conformanceTest("a frame without its end octet closes the connection", async (broker) => {
  const client = await connectRaw(broker.url);
  await client.expect("connection.open-ok");
  client.write(new Uint8Array([8, 0, 0, 0, 0, 0, 0, 0xff]));
  await client.closed();
  client.close();
});

conformanceTest(
  "stopping the flow is not implemented, which closes the connection with 540",
  async (broker) => {
    const client = await connectWithChannel(broker.url);
    client.write(new Uint8Array([1, 0, 1, 0, 0, 0, 5, 0, 20, 0, 20, 0, 0xce])); // channel.flow, active: false
    assertEquals(await client.closeCode(), 540);
    client.close();
  },
);

conformanceTest("heartbeats keep an idle connection open, and a silent peer is dropped", async (broker) => {
  const idle = await connect(`${broker.url}?heartbeat=1`, { noDelay: true });
  let error: Error | undefined;
  idle.on("error", (reason: Error) => error = reason);
  const silent = await connectRaw(broker.url, { heartbeat: 1 });
  await silent.expect("connection.open-ok");
  await silent.heartbeat();
  await silent.closed(); // after two intervals without a byte from it
  silent.close();
  assertEquals(error, undefined);
  await (await idle.createChannel()).close();
  await idle.close();
});

conformanceTest("two hundred connections are served side by side", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  const connections = await Promise.all(Array.from({ length: 200 }, () => broker.connect()));
  await Promise.all(connections.map(async (connection) => {
    const publisher = await connection.createConfirmChannel();
    publisher.sendToQueue(queue, Buffer.from("one each"));
    await publisher.waitForConfirms();
  }));
  await until("all messages", async () => (await channel.checkQueue(queue)).messageCount === 200);
});
