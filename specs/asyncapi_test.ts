/**
 * `specs/asyncapi.yaml` says of the broker what is true of it: each message in it is published.
 *
 * @module
 */
import asyncApiSchema from "@asyncapi/specs/schemas/3.1.0.json" with { type: "json" };
import { assert, assertEquals } from "@std/assert";
import { Ajv } from "ajv";
import addFormats from "ajv-formats";
import { type ConfirmChannel, connect, type GetMessage } from "amqplib";
import { parse } from "yaml";
import { z } from "zod";
import { declareTopology } from "../shared/broker/connection.ts";
import { createPublisher, toExchange } from "../shared/broker/publish.ts";
import { CONSUMED_TYPES } from "../shared/topology.ts";
import { EVENT_TYPES, parseEvent } from "../shared/events.ts";
import { asyncApiDocument } from "./asyncapi_document.ts";
import { testBroker } from "./support/test_broker.ts";

const TIMEOUT_MS = 10_000;
const file = Deno.readTextFileSync(new URL("asyncapi.yaml", import.meta.url));

const reference = z.object({ $ref: z.string() });
const exampleSchema = z.object({
  headers: z.object({ traceparent: z.string() }),
  payload: z.looseObject({
    eventId: z.string(),
    type: z.enum(EVENT_TYPES),
    occurredAt: z.string(),
    correlationId: z.string(),
  }),
});
const options = { name: z.string(), durable: z.boolean(), autoDelete: z.boolean() };
/** What is looked at of the document. */
const documentSchema = z.object({
  channels: z.record(
    z.string(),
    z.object({
      address: z.string(),
      messages: z.record(z.string(), reference),
      bindings: z.object({
        amqp: z.discriminatedUnion("is", [
          z.object({ is: z.literal("routingKey"), exchange: z.object({ ...options, type: z.string() }) }),
          z.object({
            is: z.literal("queue"),
            queue: z.object({ ...options, exclusive: z.boolean() }),
            "x-arguments": z.record(z.string(), z.unknown()),
            "x-binding-keys": z.array(z.string()),
          }),
        ]),
      }),
    }),
  ),
  operations: z.record(
    z.string(),
    z.object({
      action: z.enum(["send", "receive"]),
      channel: reference,
      bindings: z.object({
        amqp: z.object({ mandatory: z.boolean().optional(), deliveryMode: z.number().optional() }),
      }),
    }),
  ),
  components: z.object({
    messages: z.record(
      z.string(),
      z.object({
        name: z.string(),
        contentType: z.string(),
        bindings: z.object({ amqp: z.object({ messageType: z.string() }) }),
        examples: z.array(exampleSchema).min(1),
      }),
    ),
    schemas: z.record(z.string(), z.record(z.string(), z.unknown())),
  }),
});

type AsyncApi = z.infer<typeof documentSchema>;
type Example = z.infer<typeof exampleSchema>;

Deno.test("specs/asyncapi.yaml is valid AsyncAPI 3.1, and each of its references leads somewhere", () => {
  const document = parse(file);
  // The schema brings JSON Schema draft 7 with it, which Ajv has already.
  const { "http://json-schema.org/draft-07/schema": _, ...definitions } = asyncApiSchema.definitions;
  const ajv = new Ajv({ strict: false });
  addFormats.default(ajv);
  const validate = ajv.compile({ ...asyncApiSchema, definitions });
  assert(validate(document), ajv.errorsText(validate.errors));
  const references = [...file.matchAll(/\$ref: "#\/(.+)"$/gm)].map(([, path = ""]) => path);
  assert(references.length > 0);
  for (const path of references) {
    const found = path.split("/").reduce<unknown>(
      (part, key) => z.record(z.string(), z.unknown()).parse(part)[key],
      document,
    );
    assert(found, `#/${path} leads nowhere`);
  }
});

Deno.test("every message of specs/asyncapi.yaml has an example that a consumer takes", () => {
  const { messages, schemas } = documentSchema.parse(parse(file)).components;
  assertEquals(Object.values(messages).map(({ name }) => name), [...EVENT_TYPES]);
  for (const [key, { name, examples }] of Object.entries(messages)) {
    const ajv = new Ajv({ strict: false });
    addFormats.default(ajv);
    for (const { payload, headers } of examples) {
      const parsed = parseEvent(new TextEncoder().encode(JSON.stringify(payload)));
      assert(parsed.ok, parsed.ok ? "" : `${name}: ${parsed.detail}`);
      assertEquals(parsed.event.type, name);
      assert(ajv.validate(schemas[key] ?? {}, payload), `${name}: ${ajv.errorsText()}`);
      assert(ajv.validate(schemas.headers ?? {}, headers), `${name}: ${ajv.errorsText()}`);
    }
  }
});

Deno.test("what is described is what is declared, and each example reaches exactly the queues that it should", async () => {
  await using broker = await testBroker();
  // The file's document, but for the names: the test's own, so that a broker may serve other tests meanwhile.
  const document = documentSchema.parse(JSON.parse(JSON.stringify(asyncApiDocument(broker.topology))));
  const connection = await connect(broker.url);
  try {
    const channel = await connection.createConfirmChannel();
    await declareTopology(channel, broker.topology);
    await declareAgain(channel, document);
    for (const message of Object.values(document.components.messages)) {
      const queues = queuesOf(document).filter(({ types }) => types.includes(message.name));
      const sending = sendingOf(document, message.name);
      assertEquals(sending.mandatory, queues.length > 0, message.name);
      for (const example of message.examples) {
        await publish(channel, broker.topology.exchange, example);
        const arrived = await takeAll(channel, document);
        assertEquals([...arrived.keys()], queues.map(({ queue }) => queue), message.name);
        for (const { content, properties } of arrived.values()) {
          assertEquals(JSON.parse(content.toString()), example.payload);
          assertEquals(properties.deliveryMode, sending.deliveryMode);
          const { eventId, correlationId, occurredAt } = example.payload;
          assertEquals(properties.headers?.traceparent, example.headers.traceparent); // a broker may add its own
          assertEquals([properties.contentType, properties.type], [
            message.contentType,
            message.bindings.amqp.messageType,
          ]);
          assertEquals([properties.messageId, properties.correlationId], [eventId, correlationId]);
          assertEquals(properties.timestamp, Math.floor(Date.parse(occurredAt) / 1000));
        }
      }
    }
  } finally {
    await connection.close();
  }
});

/** Declares what is described on a broker that has it: with one other property, the broker refuses (406). */
async function declareAgain(channel: ConfirmChannel, { channels }: AsyncApi): Promise<void> {
  for (const { bindings: { amqp } } of Object.values(channels)) {
    if (amqp.is === "routingKey") {
      const { name, type, durable, autoDelete } = amqp.exchange;
      await channel.assertExchange(name, type, { durable, autoDelete });
    } else {
      const { name, durable, exclusive, autoDelete } = amqp.queue;
      await channel.assertQueue(name, { durable, exclusive, autoDelete, arguments: amqp["x-arguments"] });
    }
  }
}

/** Publishes as the relay does. */
async function publish(
  channel: ConfirmChannel,
  exchange: string,
  { headers: { traceparent }, payload }: Example,
): Promise<void> {
  const { eventId: id, type, correlationId, occurredAt } = payload;
  const message = {
    id,
    type,
    correlationId,
    traceparent,
    occurredAt: new Date(occurredAt),
    body: JSON.stringify(payload),
  };
  const route = toExchange(exchange, CONSUMED_TYPES);
  const { confirmed } = await createPublisher(channel).publish([message], route, TIMEOUT_MS);
  assertEquals(confirmed, [id]);
}

/** What is in the queues now, by their names; it is gone from there. */
async function takeAll(channel: ConfirmChannel, document: AsyncApi): Promise<Map<string, GetMessage>> {
  const taken = new Map<string, GetMessage>();
  for (const { queue } of queuesOf(document)) {
    const message = await channel.get(queue, { noAck: true });
    if (message) taken.set(queue, message);
    assertEquals(await channel.get(queue, { noAck: true }), false, `${queue} has a second message`);
  }
  return taken;
}

/** The queues, each with the types of event that the document has in it. */
function queuesOf({ channels, components }: AsyncApi): { queue: string; types: string[] }[] {
  return Object.values(channels).flatMap(({ address, messages, bindings: { amqp } }) => {
    if (amqp.is !== "queue") return [];
    const types = Object.keys(messages).map((key) => components.messages[key]?.name ?? key);
    assertEquals([amqp.queue.name, amqp["x-binding-keys"]], [address, types]);
    return [{ queue: address, types }];
  });
}

/** How the document says that events of a type are sent. */
function sendingOf({ channels, operations }: AsyncApi, type: string) {
  const [key] = Object.entries(channels).find(([, { address }]) => address === type) ?? [];
  const sending = Object.values(operations).find(({ action, channel }) =>
    action === "send" && channel.$ref === `#/channels/${key}`
  );
  assert(sending, `${type} is not sent`);
  return sending.bindings.amqp;
}
