import { assertEquals, assertGreater } from "@std/assert";
import fc from "fast-check";
import { connect } from "amqplib";
import { byteWriter, writeBytes, writtenBytes } from "./bytes.ts";
import { consumeInto, until } from "./testdata/conformance.ts";
import type { Field, FieldTable } from "./bytes.ts";
import { writeContentFrames, writeHeartbeatFrame, writeMethodFrame } from "./frames.ts";
import { PROTOCOL_HEADER } from "./connection.ts";
import { type AmqpBrokerEvent, startAmqpBroker } from "./server.ts";

/** Fixed, so that a failure can be looked at again. */
const SEED = 20_261_122;
const CONNECTIONS = 3_000;
const AT_ONCE = 20;

/** What an honest client may send, whole, with a message in it: the raw material to be damaged. */
function honestSession(): Uint8Array {
  const writer = byteWriter();
  const table: FieldTable = new Map<string, Field>([["list", ["x", 7]], ["inner", new Map([["yes", true]])]]);
  writeBytes(writer, PROTOCOL_HEADER);
  writeMethodFrame(writer, 0, "connection.start-ok", {
    clientProperties: table,
    mechanism: "PLAIN",
    response: "\0guest\0guest",
    locale: "en_US",
  });
  writeMethodFrame(writer, 0, "connection.tune-ok", { channelMax: 10, frameMax: 8192, heartbeat: 0 });
  writeMethodFrame(writer, 0, "connection.open", { virtualHost: "/", capabilities: "", insist: false });
  writeMethodFrame(writer, 1, "channel.open", { outOfBand: "" });
  const flags = { passive: false, durable: false, exclusive: true, autoDelete: true, noWait: false };
  writeMethodFrame(writer, 1, "queue.declare", { ticket: 0, queue: "", ...flags, arguments: table });
  writeMethodFrame(writer, 1, "queue.bind", {
    ticket: 0,
    queue: "",
    exchange: "amq.topic",
    routingKey: "a.#",
    noWait: false,
    arguments: table,
  });
  writeMethodFrame(writer, 1, "confirm.select", { noWait: false });
  const consume = { noLocal: false, noAck: false, exclusive: false, noWait: false };
  writeMethodFrame(writer, 1, "basic.consume", {
    ticket: 0,
    queue: "",
    consumerTag: "c",
    ...consume,
    arguments: new Map(),
  });
  const publish = { ticket: 0, exchange: "amq.topic", routingKey: "a.b", mandatory: true, immediate: false };
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
  return fc.oneof(
    { weight: 6, arbitrary: changed },
    { weight: 3, arbitrary: spliced },
    cut,
    junk,
    junkAfterHeader,
  );
}

/** Sends the bytes, reads whatever comes for as long as the broker talks, and hangs up. */
async function attack(port: number, bytes: Uint8Array): Promise<void> {
  const socket = await Deno.connect({ hostname: "127.0.0.1", port });
  try {
    await socket.write(bytes);
    await socket.closeWrite();
    const buffer = new Uint8Array(64 * 1024);
    while (await socket.read(buffer) !== null);
  } catch {
    // the broker hung up first
  } finally {
    socket.close();
  }
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
    await Promise.all(inputs.slice(first, first + AT_ONCE).map((bytes) => attack(broker.port, bytes)));
    await channel.waitForConfirms();
  }
  await until("the honest messages", () => inbox.messages.length === CONNECTIONS / AT_ONCE);
  const closed = events.filter((event) => event.type === "connection closed");
  assertEquals(closed.length, CONNECTIONS);
  const opened = events.filter((event) => event.type === "connection opened");
  assertGreater(opened.length, CONNECTIONS / 2); // the damage reached past the handshake
  const faults = events.filter((event) => "reason" in event && event.reason.startsWith("INTERNAL_ERROR"));
  assertEquals(faults, []); // every refusal was meant
  await connection.close();
  await broker.stop();
});
