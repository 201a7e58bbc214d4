/**
 * `specs/asyncapi.yaml` says of the broker what is true of it: each message in it is published.
 *
 * @module
 */
import asyncApiSchema from "@asyncapi/specs/schemas/3.1.0.json" with { type: "json" };
import { assert, assertEquals } from "@std/assert";
import { Ajv } from "ajv";
import addFormats from "ajv-formats";
import { connect } from "amqplib";
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

/** What is looked at of the document. */
const { components: { messages, schemas } } = z.object({
  components: z.object({
    messages: z.record(
      z.string(),
      z.object({
        name: z.enum(EVENT_TYPES),
        contentType: z.string(),
        bindings: z.object({ amqp: z.object({ messageType: z.string() }) }),
        examples: z.tuple([z.object({
          headers: z.object({ traceparent: z.string() }),
          payload: z.looseObject({ eventId: z.string(), occurredAt: z.string(), correlationId: z.string() }),
        })]),
      }),
    ),
    schemas: z.record(z.string(), z.record(z.string(), z.unknown())),
  }),
}).parse(parse(file));

const options = { name: z.string(), durable: z.boolean(), autoDelete: z.boolean() };
const amqpBinding = z.object({
  exchange: z.object({ ...options, type: z.string() }).optional(),
  queue: z.object({ ...options, exclusive: z.boolean() }).optional(),
  "x-arguments": z.record(z.string(), z.unknown()).optional(),
});
const declaredSchema = z.object({
  channels: z.record(z.string(), z.object({ bindings: z.object({ amqp: amqpBinding }) })),
});

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
  assertEquals(Object.values(messages).map(({ name }) => name), [...EVENT_TYPES]);
  for (const [key, { name, examples: [{ payload, headers }] }] of Object.entries(messages)) {
    const ajv = new Ajv({ strict: false });
    addFormats.default(ajv);
    const parsed = parseEvent(new TextEncoder().encode(JSON.stringify(payload)));
    assert(parsed.ok, parsed.ok ? "" : `${name}: ${parsed.detail}`);
    assertEquals(parsed.event.type, name);
    assert(ajv.validate(schemas[key] ?? {}, payload), `${name}: ${ajv.errorsText()}`);
    assert(ajv.validate(schemas.headers ?? {}, headers), `${name}: ${ajv.errorsText()}`);
  }
});

Deno.test("what is described is what is declared, and each example reaches exactly the queues that it should", async () => {
  await using broker = await testBroker();
  const queues: { name: string; bindings: readonly string[] }[] = Object.values(broker.topology.queues);
  const connection = await connect(broker.url);
  try {
    const channel = await connection.createConfirmChannel();
    await declareTopology(channel, broker.topology);
    const described = declaredSchema.parse(asyncApiDocument(broker.topology));
    for (const { bindings: { amqp } } of Object.values(described.channels)) {
      // What is there is declared once more: with one other property, the broker refuses (406).
      const { exchange, queue, "x-arguments": queueArguments } = amqp;
      if (exchange) await channel.assertExchange(exchange.name, exchange.type, exchange);
      if (queue) await channel.assertQueue(queue.name, { ...queue, arguments: queueArguments });
    }
    for (
      const { name: type, contentType, bindings, examples: [{ headers, payload }] } of Object.values(messages)
    ) {
      const { eventId: id, correlationId, occurredAt } = payload;
      const about = { id, type, correlationId, occurredAt: new Date(occurredAt), ...headers };
      const route = toExchange(broker.topology.exchange, CONSUMED_TYPES);
      const publisher = createPublisher(channel);
      const { confirmed } = await publisher.publish(
        [{ ...about, body: JSON.stringify(payload) }],
        route,
        TIMEOUT_MS,
      );
      assertEquals(confirmed, [id]);
      for (const queue of queues) {
        const message = await channel.get(queue.name, { noAck: true });
        assertEquals(message !== false, queue.bindings.includes(type), `${type} in ${queue.name}`);
        if (!message) continue;
        assertEquals(
          await channel.get(queue.name, { noAck: true }),
          false,
          `${queue.name} has a second message`,
        );
        const { content, properties } = message;
        assertEquals(JSON.parse(content.toString()), payload);
        assertEquals(properties.headers?.traceparent, headers.traceparent); // a broker may add its own
        assertEquals(properties.deliveryMode, 2);
        assertEquals([properties.contentType, properties.type], [contentType, bindings.amqp.messageType]);
        assertEquals([properties.messageId, properties.correlationId], [id, correlationId]);
        assertEquals(properties.timestamp, Math.floor(Date.parse(occurredAt) / 1000));
      }
    }
  } finally {
    await connection.close();
  }
});
