import { assertEquals, assertObjectMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { connect } from "amqplib";
import { closeReason, conformance } from "./testdata/conformance.ts";
import { closeCode, exchangeBytes, session } from "./testdata/raw_client.ts";

conformance({
  async "connection.start names the broker's capabilities"({ broker }) {
    const { connection } = await broker.connect();
    const served = ["publisher_confirms", "basic.nack", "consumer_cancel_notify", "connection.blocked"];
    const capabilities = Object.fromEntries(served.map((name) => [name, true]));
    assertObjectMatch(connection.serverProperties, { capabilities });
  },

  async "anything but the protocol header is answered with one, then closed"({ broker }) {
    const expected = await broker.isRabbitMq3() ? [0, 0, 9, 1] : [3, 1, 0, 0];
    const encoder = new TextEncoder();
    for (const text of ["AMQP\x01\x01\x00\x0a", "GET / HTTP/1.1\r\n\r\n"]) {
      const answer = await exchangeBytes(broker.url, encoder.encode(text));
      assertEquals(answer, [...encoder.encode("AMQP"), ...expected]);
    }
  },

  async "a wrong user or password is refused with 403"({ broker }) {
    const { host, username, password } = new URL(broker.url);
    for (const login of [`nobody:${password}`, `${username}:wrong`, `${username}:`]) {
      const { message } = await assertRejects(() => connect(`amqp://${login}@${host}`), Error);
      assertStringIncludes(message, '403 (ACCESS-REFUSED) with message "ACCESS_REFUSED - Login was refused');
    }
  },

  async "an unknown virtual host and limits above the broker's are refused with 530"({ broker }) {
    const codeFor = (open: Parameters<typeof session>[2]) =>
      closeCode(broker.url, session(broker.url, [], open));
    assertEquals(await codeFor({ virtualHost: "no-such-host" }), 530);
    for (const tune of [{ frameMax: 1_000_000 }, { channelMax: 65_535 }]) {
      // RabbitMQ closes without a word here, after a while; a reason is friendlier.
      assertEquals(await codeFor(tune), broker.isEmbedded ? 530 : undefined);
    }
  },

  async "frame-max is kept to by the broker and enforced on the client"({ broker }) {
    const connection = await connect(`${broker.url}?frameMax=8192`);
    const channel = await connection.createConfirmChannel();
    const queue = await broker.queue(channel);
    const body = crypto.getRandomValues(Buffer.alloc(20_000));
    channel.sendToQueue(queue, body);
    await channel.waitForConfirms();
    const message = await channel.get(queue, { noAck: true });
    assertEquals(message && [...message.content], [...body]); // the client refuses frames above its own frame-max
    await connection.close();

    const tooLong = new Uint8Array([1, 0, 1, 0, 0, 0x28, 0]); // the beginning of a method frame of 10 KiB
    assertEquals(await closeCode(broker.url, session(broker.url, [tooLong], { frameMax: 8192 })), 501);
  },

  async "errors close their channel or their connection, and no other"({ broker }) {
    const connection = await broker.connect();
    const [doomed, sibling] = [await connection.createChannel(), await connection.createChannel()];
    assertEquals((await closeReason(doomed, () => doomed.checkQueue(broker.unique("missing")))).code, 404);
    const queue = await broker.queue(sibling);
    const again = await connection.createChannel(); // the number of the closed channel can be used anew
    const reuse = () => Promise.all([1, 2].map(() => again.consume(queue, () => {}, { consumerTag: "one" })));
    const other = await broker.channel();
    assertEquals((await closeReason(connection, reuse)).code, 530);
    await other.checkQueue(queue);
  },

  async "methods out of turn close the connection with 504 and 505"({ broker }) {
    const cases = {
      "on a channel that is not open": [504, [[7, "confirm.select", {}]]],
      "on one that is": [504, [[1, "channel.open", {}]]],
      "where content should be": [505, [[1, "basic.publish", {}], [1, "basic.publish", {}]]],
    } as const;
    for (const [what, [code, sent]] of Object.entries(cases)) {
      assertEquals(await closeCode(broker.url, session(broker.url, sent)), code, what);
    }
  },

  async "bytes that are no frame close the connection"({ broker }) {
    for (const [type, end] of [[8, 0xff], [9, 0xce]] as const) { // the end octet is wrong, the type
      await closeCode(broker.url, session(broker.url, [new Uint8Array([type, 0, 0, 0, 0, 0, 0, end])]));
    }
  },

  async "heartbeats keep an idle connection open, and a silent peer is dropped"({ broker }) {
    const idle = await connect(`${broker.url}?heartbeat=1`, { noDelay: true });
    let error: Error | undefined;
    idle.on("error", (reason: Error) => error = reason); // so it does when the broker's heartbeats stay away
    const silent = session(broker.url, [], { heartbeat: 1 });
    assertEquals(await closeCode(broker.url, silent), undefined); // after two intervals without a byte from it
    assertEquals(error, undefined);
    await (await idle.createChannel()).close();
    await idle.close();
  },
});
