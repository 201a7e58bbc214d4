// `specs/asyncapi.yaml` says of the broker what is true of it: each message in it is published.

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

Deno.test("each message has an example that a consumer takes, and that reaches exactly the queues that it should", async () => {
  await using broker = await testBroker();
  const { channels, components: { messages, ...components } } = asyncApiDocument(broker.topology);
  const schemas: Record<string, object> = components.schemas;
  assertEquals(Object.values(messages).map(({ name }) => name), [...EVENT_TYPES]);
  const connection = await connect(broker.url);
  try {
    const channel = await connection.createConfirmChannel();
    await declareTopology(channel, broker.topology);
    for (const { bindings: { amqp } } of Object.values(channels)) {
      // What is there is declared once more: with one other property, the broker refuses (406).
      if ("exchange" in amqp) {
        await channel.assertExchange(amqp.exchange.name, amqp.exchange.type, amqp.exchange);
      } else await channel.assertQueue(amqp.queue.name, { ...amqp.queue, arguments: amqp["x-arguments"] });
    }
    for (const [key, { name: type, contentType, bindings, examples }] of Object.entries(messages)) {
      const [example] = examples;
      assert(example, `${type} has no example`);
      const { headers, payload } = example;
      const body = JSON.stringify(payload);
      const parsed = parseEvent(new TextEncoder().encode(body));
      assertEquals(parsed.ok && parsed.event.type, type, parsed.ok ? "" : parsed.detail);
      const ajv = new Ajv({ strict: false });
      addFormats.default(ajv);
      assert(ajv.validate(schemas[key] ?? {}, payload), `${type}: ${ajv.errorsText()}`);
      assert(ajv.validate(components.schemas.headers, headers), `${type}: ${ajv.errorsText()}`);

      const { eventId: id, correlationId, occurredAt } = payload;
      const about = { id, type, correlationId, occurredAt: new Date(occurredAt), ...headers };
      const route = toExchange(broker.topology.exchange, CONSUMED_TYPES);
      const { confirmed } = await createPublisher(channel).publish([{ ...about, body }], route, TIMEOUT_MS);
      assertEquals(confirmed, [id]);
      for (const queue of Object.values(broker.topology.queues)) {
        const message = await channel.get(queue.name, { noAck: true });
        const isBound = queue.bindings.some((bound) => bound === type);
        assertEquals(message !== false, isBound, `${type} in ${queue.name}`);
        if (!message) continue;
        assertEquals(await channel.get(queue.name), false, `${queue.name} has a second message`);
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
