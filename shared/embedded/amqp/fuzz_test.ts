import { assertEquals, assertGreater } from "@std/assert";
import fc from "fast-check";
import { connect } from "amqplib";
import type { Field, FieldTable } from "./bytes.ts";
import { PROTOCOL_HEADER } from "./connection.ts";
import { type AmqpBrokerEvent, startAmqpBroker } from "./server.ts";
import { consumeInto, until } from "./testdata/conformance.ts";
import { content, exchangeBytes, session } from "./testdata/raw_client.ts";

/** Fixed, so that a failure can be looked at again. */
const SEED = 20_261_122;
const CONNECTIONS = 3_000;
const AT_ONCE = 20;

/** What an honest client may send, whole, with a message in it: the raw material to be damaged. */
function honestSession(url: string): Uint8Array {
  const table: FieldTable = new Map<string, Field>([["list", ["x", 7]], ["inner", new Map([["yes", true]])]]);
  const properties = new Uint8Array([0xa0, 0, 1, 0x78, 0, 0, 0, 4, 1, 0x61, 0x74, 1]); // content-type and one header
  const sent = [
    [1, "queue.declare", { exclusive: true, autoDelete: true, arguments: table }],
    [1, "queue.bind", { exchange: "amq.topic", routingKey: "a.#" }],
    [1, "confirm.select", {}],
    [1, "basic.consume", { consumerTag: "c", arguments: table }],
    [1, "basic.publish", { exchange: "amq.topic", routingKey: "a.b", mandatory: true }],
    content(1, 10_000, [new Uint8Array(10_000)], properties),
    [1, "basic.ack", { deliveryTag: 1 }],
    new Uint8Array([8, 0, 0, 0, 0, 0, 0, 0xce]), // a heartbeat
    [1, "channel.close", { replyCode: 200 }],
  ] as const;
  return session(url, sent, { channelMax: 10, frameMax: 8192 });
}

/** Junk, and honest bytes with some changed, a piece doubled, left out, or cut off. */
function arbitraryInput(honest: Uint8Array): fc.Arbitrary<Uint8Array> {
  const place = fc.nat(honest.length - 1);
  const changed = fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 4 }).map((changes) => {
    const bytes = honest.slice();
    for (const [at, byte] of changes) bytes[at] = byte;
    return bytes;
  });
  const spliced = fc.tuple(place, place).map(([one, other]) =>
    new Uint8Array([...honest.subarray(0, one), ...honest.subarray(other)])
  );
  const cut = place.map((length) => honest.subarray(0, length));
  const junk = fc.uint8Array({ maxLength: 300 });
  const junkAfterHeader = junk.map((bytes) => new Uint8Array([...PROTOCOL_HEADER, ...bytes]));
  const often = [{ weight: 6, arbitrary: changed }, { weight: 3, arbitrary: spliced }];
  return fc.oneof(...often, cut, junk, junkAfterHeader);
}

Deno.test("startAmqpBroker outlives thousands of hostile connections, and others do not notice", async () => {
  const events: AmqpBrokerEvent[] = [];
  const broker = startAmqpBroker({ log: (event) => events.push(event) });
  const connection = await connect(broker.url);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue("honest");
  const inbox = await consumeInto(channel, "honest", { noAck: true });
  const inputs = fc.sample(arbitraryInput(honestSession(broker.url)), { seed: SEED, numRuns: CONNECTIONS });
  for (let first = 0; first < CONNECTIONS; first += AT_ONCE) {
    channel.sendToQueue("honest", Buffer.from(String(first)));
    const attackers = inputs.slice(first, first + AT_ONCE);
    await Promise.all(attackers.map((bytes) => exchangeBytes(broker.url, bytes, { hangUp: true })));
    await channel.waitForConfirms();
  }
  await until("the honest messages", () => inbox.messages.length === CONNECTIONS / AT_ONCE);
  const count = (type: AmqpBrokerEvent["type"]) => events.filter((event) => event.type === type).length;
  assertEquals(count("connection closed"), CONNECTIONS);
  assertGreater(count("connection opened"), CONNECTIONS / 2); // the damage reached past the handshake
  const faults = events.filter((event) => "reason" in event && event.reason.startsWith("INTERNAL_ERROR"));
  assertEquals(faults, []); // every refusal was meant
  await connection.close();
  await broker.stop();
});
