// What goes over the broker, described in AsyncAPI 3 (https://www.asyncapi.com/docs/reference/specification/v3.1.0) out
// of the catalogue and the topology.

import { EVENT_VERSION, headersOf, REPUBLISHED_HEADER } from "../shared/broker/message.ts";
import { CONSUMED_TYPES, QUEUE_KEYS, type QueueKey, type Topology } from "../shared/topology.ts";
import { EXCHANGE, QUEUE_OPTIONS } from "../shared/broker/connection.ts";
import { EVENT_TYPES, eventData, eventJsonSchemas, type EventType } from "../shared/events.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../shared/scenarios.ts";
import type { z } from "zod";

const VHOST = "/";

/** The document, for a broker that has the topology under these names. */
export function asyncApiDocument(topology: Topology) {
  return {
    asyncapi: "3.1.0",
    info: {
      title: "OrderFlow events",
      version: "1",
      description:
        "The purchase of a course as events. Each is published once it is committed, at least once, and to be absorbed " +
        "by its eventId where it comes again. What is asked over HTTP is described at /openapi.json.",
    },
    defaultContentType: "application/json",
    servers: { broker: { host: "localhost:5672", protocol: "amqp", protocolVersion: "0-9-1" } },
    channels: {
      ...record(EVENT_TYPES, nameOf, (type) => eventChannel(type, topology)),
      ...record(QUEUE_KEYS, String, (key) => queueChannel(key, topology)),
    },
    operations: {
      ...record(EVENT_TYPES, (type) => nameOf(`publish.${type}`), publishing),
      ...record(QUEUE_KEYS, (key) => nameOf(`consume.${key}`), (key) => consuming(key, topology)),
    },
    components: {
      messages: record(EVENT_TYPES, nameOf, message),
      schemas: { headers: headersSchema(), ...record(EVENT_TYPES, nameOf, dataSchema) },
    },
  };
}

/** What is made of each item, by the name that it has in the document. */
function record<T extends string, R>(
  items: readonly T[],
  nameOf: (item: T) => string,
  make: (item: T) => R,
): Record<string, R> {
  return Object.fromEntries(items.map((item) => [nameOf(item), make(item)]));
}

function eventChannel(type: EventType, { exchange }: Topology) {
  return {
    address: type,
    title: `Routing key ${type}`,
    messages: record([type], nameOf, messageRef),
    bindings: amqp({
      is: "routingKey",
      exchange: { name: exchange, ...EXCHANGE, autoDelete: false, vhost: VHOST },
    }),
  };
}

function queueChannel(key: QueueKey, { queues }: Topology) {
  const { name, bindings } = queues[key];
  const { durable, arguments: queueArguments } = QUEUE_OPTIONS;
  return {
    address: name,
    title: `Queue ${name}`,
    messages: record(bindings, nameOf, messageRef),
    bindings: amqp({
      is: "queue",
      queue: { name, durable, exclusive: false, autoDelete: false, vhost: VHOST },
    }, { "x-arguments": queueArguments, "x-binding-keys": bindings }),
  };
}

function publishing(type: EventType) {
  return {
    action: "send",
    summary: `The outbox relay publishes ${type}.`,
    channel: ref("channels", nameOf(type)),
    messages: [ref("channels", nameOf(type), "messages", nameOf(type))],
    bindings: amqp({ deliveryMode: 2, mandatory: CONSUMED_TYPES.has(type), timestamp: true }),
  };
}

function consuming(key: QueueKey, { queues }: Topology) {
  const { name, bindings } = queues[key];
  return {
    action: "receive",
    summary: `The consumer ${name} reacts.`,
    channel: ref("channels", key),
    messages: bindings.map((type) => ref("channels", key, "messages", nameOf(type))),
    bindings: amqp({ ack: true }),
  };
}

function message(type: EventType) {
  return {
    name: type,
    title: type,
    summary: tellsOf(type),
    description:
      "Its AMQP properties: `message-id` is the eventId, `type` the type, `correlation-id` the correlationId, " +
      "`timestamp` the time of occurredAt in whole seconds.",
    contentType: "application/json",
    headers: ref("components", "schemas", "headers"),
    correlationId: { location: "$message.payload#/correlationId" },
    payload: ref("components", "schemas", nameOf(type)),
    bindings: amqp({ messageType: type }),
    examples: [{
      name: nameOf(type),
      summary: tellsOf(type),
      headers: { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" },
      payload: exampleOf(type),
    }],
  };
}

function tellsOf(type: EventType): string {
  const text = eventData[type].description;
  if (!text) throw new Error(`Nothing says what ${type} tells: describe its schema in shared/events.ts`);
  return text;
}

/** Examples of fields by their names, and of others: the first that its schema takes. */
const SAMPLES: Readonly<Record<string, unknown>> = {
  orderId: "01a20441-ae89-7222-9369-984124b51d7d",
  userId: SCENARIO_USER,
  courseId: RESERVED_COURSES.success,
  amount: "49.90",
  reason: "what stood in the way",
};
const OTHER_SAMPLES = ["01a20441-af1c-7d0e-b6a5-0c4f2d9e8b17", "ORDER_COMPLETED", 1, true];

function exampleOf(type: EventType) {
  const fields: [string, z.ZodType][] = Object.entries(eventData[type].shape);
  return {
    eventId: "01a20441-ae89-7222-9369-9d1452524b8d",
    type,
    version: EVENT_VERSION,
    occurredAt: "2026-11-22T17:15:43.113Z",
    correlationId: "762f45dc-e15f-4051-97c3-a413cb494008",
    data: Object.fromEntries(fields.map(([name, field]) => {
      return [name, SAMPLES[name] ?? OTHER_SAMPLES.find((sample) => field.safeParse(sample).success)];
    })),
  };
}

/** The headers of an event, and those that it has as well when one consumer gets it once more. */
function headersSchema() {
  const [retries = "", age = ""] = Object.keys(headersOf({ retries: 0, ageMs: 0 }));
  return {
    type: "object",
    properties: {
      traceparent: { type: "string", description: "W3C trace context." },
      tracestate: { type: "string", description: "What goes with it, as it came." },
      [REPUBLISHED_HEADER]: {
        type: "boolean",
        description: "True on an event that an operator had published again: its consumers may have had it.",
      },
      [retries]: { type: "integer", minimum: 0, description: "Retries that the consumer has spent on it." },
      [age]: {
        type: "integer",
        minimum: 0,
        description: "How long ago the consumer first looked at it, when it was sent, in milliseconds.",
      },
    },
  };
}

/** In the dialect of AsyncAPI, which knows all that it uses. */
function dataSchema(type: EventType): object {
  const { $schema: _, ...schema } = eventJsonSchemas()[type] as Record<string, unknown>;
  return schema;
}

/** A binding, and what of ours AsyncAPI has no words for. */
function amqp<B extends object>(
  binding: B,
  extensions: { readonly "x-arguments"?: object; readonly "x-binding-keys"?: readonly string[] } = {},
) {
  return { amqp: { ...binding, bindingVersion: "0.3.0", ...extensions } };
}

const messageRef = (type: EventType) => ref("components", "messages", nameOf(type));

function ref(...path: readonly string[]): { $ref: string } {
  return { $ref: `#/${path.join("/")}` };
}

/** `order.created` as a name in the document: `orderCreated`. */
function nameOf(name: string): string {
  return name.replaceAll(/\.(\w)/g, (_, letter) => letter.toUpperCase());
}
