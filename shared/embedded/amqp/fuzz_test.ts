import { assertEquals, assertGreater } from "@std/assert";
import fc from "fast-check";
import { connect } from "amqplib";
import { byteWriter, type Field, type FieldTable, writeBytes, writtenBytes } from "./bytes.ts";
import { PROTOCOL_HEADER } from "./connection.ts";
import { writeContentFrames, writeHeartbeatFrame, writeMethodFrame } from "./frames.ts";
import { type AmqpBrokerEvent, startAmqpBroker } from "./server.ts";
import { consumeInto, until } from "./testdata/conformance.ts";
import { exchangeBytes, PUBLISH } from "./testdata/raw_client.ts";

/** Fixed, so that a failure can be looked at again. */
const SEED = 20_261_122;
const CONNECTIONS = 3_000;
const AT_ONCE = 20;

/** What an honest client may send, whole, with a message in it: the raw material to be damaged. */
function honestSession(): Uint8Array {
  const writer = byteWriter();
  const table: FieldTable = new Map<string, Field>([["list", ["x", 7]], ["inner", new Map([["yes", true]])]]);
  const login = { mechanism: "PLAIN", response: "\0guest\0guest", locale: "en_US" };
  writeBytes(writer, PROTOCOL_HEADER);
  writeMethodFrame(writer, 0, "connection.start-ok", { clientProperties: table, ...login });
  writeMethodFrame(writer, 0, "connection.tune-ok", { channelMax: 10, frameMax: 8192, heartbeat: 0 });
  writeMethodFrame(writer, 0, "connection.open", { virtualHost: "/", capabilities: "", insist: false });
  writeMethodFrame(writer, 1, "channel.open", { outOfBand: "" });
  const lastQueue = { ticket: 0, queue: "", noWait: false, arguments: table };
  const flags = { passive: false, durable: false, exclusive: true, autoDelete: true };
  writeMethodFrame(writer, 1, "queue.declare", { ...lastQueue, ...flags });
  writeMethodFrame(writer, 1, "queue.bind", { ...lastQueue, exchange: "amq.topic", routingKey: "a.#" });
  writeMethodFrame(writer, 1, "confirm.select", { noWait: false });
  const consumer = { consumerTag: "c", noLocal: false, noAck: false, exclusive: false };
  writeMethodFrame(writer, 1, "basic.consume", { ...lastQueue, ...consumer });
  const publish = { ...PUBLISH, exchange: "amq.topic", routingKey: "a.b", mandatory: true };
  writeMethodFrame(writer, 1, "basic.publish", publish);
  const properties = new Uint8Array([0xa0, 0, 1, 0x78, 0, 0, 0, 4, 1, 0x61, 0x74, 1]); // content-type and one header
  const body = new Uint8Array(10_000);
  writeContentFrames(writer, 1, { properties, body: [body], bodySize: body.length }, 4096);
  writeMethodFrame(writer, 1, "basic.ack", { deliveryTag: 1, multiple: false });
  writeHeartbeatFrame(writer);
  writeMethodFrame(writer, 1, "channel.close", { replyCode: 200, replyText: "", classId: 0, methodId: 0 });
  return writtenBytes(writer).slice();
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
  const inputs = fc.sample(arbitraryInput(honestSession()), { seed: SEED, numRuns: CONNECTIONS });
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
