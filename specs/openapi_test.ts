// `/openapi.json` says of every route what is true of it: each example in it is sent.

import { Validator } from "@seriousme/openapi-schema-validator";
import { assert, assertEquals } from "@std/assert";
import { connect } from "amqplib";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { z } from "zod";
import { EXAMPLE_IDS, json, route, routes } from "../api/openapi/route.ts";
import { declareTopology } from "../shared/broker/connection.ts";
import { createPublisher } from "../shared/broker/publish.ts";
import { startAmqpBroker } from "../shared/embedded/amqp/server.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../shared/scenarios.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { usualTopology } from "./support/test_broker.ts";
import { insertPublished } from "./support/test_events.ts";
import { type TestApp, testApp, testBundle } from "./support/test_app.ts";
import { shareTestSchema, type TestSchema, testSchema } from "./support/test_schema.ts";

shareTestSchema();

const TOKEN = "at-least-16-characters";
const CONSUMER = "payments.order-created.v1";
const topology = usualTopology();

/** The whole application as it is described, on an embedded broker of its own; `resources` end it. */
async function describedApp(db: TestSchema, resources: AsyncDisposableStack): Promise<TestApp["app"]> {
  const broker = await startAmqpBroker();
  resources.defer(() => broker.stop());
  const connection = await connect(broker.url);
  resources.defer(() => connection.close());
  const channel = await connection.createConfirmChannel();
  await declareTopology(channel, topology);
  const publisher = createPublisher(channel);
  const bundle = resources.use(await testBundle());
  const { app, deps } = testApp(db, {
    publisher: () => publisher,
    isBrokerUp: () => true,
    faults: topology,
    retentionDays: 36_500, // the examples' ids have times in them
    access: { token: TOKEN, remoteAddress: () => null },
    bundle: bundle.folder,
  });
  resources.defer(() => deps.live.close());
  return app;
}

/** What is looked at of the document. */
interface OpenApiDocument {
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}
interface Operation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly parameters: readonly { readonly name: string; readonly in: string; readonly example?: unknown }[];
  readonly requestBody?: { readonly required: boolean; readonly content: Content };
  readonly responses: Readonly<
    Record<string, { headers: Record<string, { required?: boolean }>; content: Content }>
  >;
  readonly security?: unknown;
}
type Content = Readonly<
  Record<string, { schema: unknown; examples?: Record<string, { value: object; "x-status"?: number }> }>
>;

async function readDocument(app: TestApp["app"]): Promise<OpenApiDocument> {
  const response = await app.request("/openapi.json");
  assertEquals(response.status, 200);
  return await response.json();
}

Deno.test("/openapi.json is valid OpenAPI 3.1, open to everyone, and describes every route that there is, and nothing else", async () => {
  await using db = await testSchema();
  for (const faults of [topology, undefined]) {
    const access = { token: TOKEN, remoteAddress: () => "192.0.2.1" };
    const { app } = testApp(db, { access, ...(faults ? { faults } : {}) });
    const document = await readDocument(app);
    const validator = new Validator();
    const { valid, errors } = await validator.validate({ ...document });
    assert(valid, JSON.stringify(errors, null, 2));
    assertEquals(validator.version, "3.1");
    const routes = app.routes.filter(({ method }) => method !== "ALL")
      .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`);
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`)
    );
    assertEquals(operations.toSorted(), [...new Set(routes)].toSorted());
    const ids = operationsOf(document).map(({ operationId }) => operationId);
    assertEquals(ids.length, new Set(ids).size, "two operations have one name");
    const tags = document.tags.map(({ name }) => name);
    for (const operation of operationsOf(document)) {
      const [tag = "", ...more] = operation.tags;
      assertEquals(
        [tags.includes(tag), more],
        [true, []],
        `${operation.operationId}: ${tag} is not described`,
      );
    }
  }
});

const operationsOf = ({ paths }: OpenApiDocument) =>
  Object.values(paths).flatMap((methods) => Object.values(methods));

Deno.test("every example of /openapi.json gets the status, headers and body that are described, and none without the token that it asks for", async () => {
  await using db = await testSchema();
  await using resources = new AsyncDisposableStack();
  const app = await describedApp(db, resources);
  const document = await readDocument(app);
  const check = answerCheck(document);
  const ask = async (request: DescribedRequest, wanted: number, headers: Record<string, string>) => {
    const { method, url, body: sent = null } = request;
    const init = { method, headers: { ...request.headers, ...headers }, body: sent };
    const response = await app.request(url, init);
    const body = await bodyOf(response);
    assertEquals(response.status, wanted, `${request.name}: ${body}`);
    check(request, response, body);
  };
  let isFresh = false;
  for (const request of describedRequests(document)) {
    const isOps = /^\/(ops|metrics)\b/.test(request.template) || request.template === "/";
    assertEquals(request.operation.security !== undefined, isOps, request.name);
    if (isOps) await ask(request, 401, {});
    if (!isFresh) await makeExamples(db.sql);
    isFresh = request.method === "GET";
    await ask(request, request.status, { authorization: `Bearer ${TOKEN}` });
  }
});

/** The body as text; of a stream of events, the data of the first. */
async function bodyOf(response: Response): Promise<string> {
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return await response.text();
  let text = "";
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    const data = /^data: (.*)\n/m.exec(text)?.[1];
    if (data) return data;
  }
  return "";
}

/** Checks answers by the document, whose schemas are read as if they named every field that there is. */
function answerCheck(document: object) {
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  ajv.addSchema(closed(document), "document");
  return ({ name, template, method, operation }: DescribedRequest, response: Response, body: string) => {
    const { status } = response;
    const answer = operation.responses[status];
    assert(answer, `${name}: ${status} is not described`);
    for (const [header, { required }] of Object.entries(answer.headers)) {
      if (required) assert(response.headers.has(header), `${name}: ${status} has no ${header}`);
    }
    const type = response.headers.get("content-type")?.split(";")[0] ?? "";
    const content = answer.content[type];
    assert(content || !type, `${name}: ${type} is not described`);
    if (!content) return;
    const isText = JSON.stringify(content.schema) === '{"type":"string"}';
    const path = ["paths", template, method.toLowerCase(), "responses", status, "content", type, "schema"]
      .map((part) => encodeURIComponent(String(part).replaceAll("~", "~0").replaceAll("/", "~1"))).join("/");
    const validate = ajv.getSchema(`document#/${path}`);
    assert(validate, path);
    const isValid = validate(isText ? body : JSON.parse(body));
    assert(isValid, `${name}: ${ajv.errorsText(validate.errors)} in ${body}`);
  };
}

/** A copy whose objects have no fields but those that are named. */
function closed(document: object): object {
  const isNamed = (part: object | null) => typeof part === "object" && part && "properties" in part;
  return JSON.parse(JSON.stringify(document), (_, part) => {
    return isNamed(part) && part.type === "object" ? { additionalProperties: false, ...part } : part;
  });
}

/** Puts what the examples name into the tables, and nothing else. */
async function makeExamples(sql: Sql): Promise<void> {
  const { order, event, deadLetter, fault, replay } = EXAMPLE_IDS;
  const [at, courseId, amount] = [new Date(), RESERVED_COURSES.success, "49.90"];
  await sql`
    truncate orders, outbox_events, processed_events, dead_letters, replay_events, replays, faults, holds, idempotency_keys`;
  await sql`
    insert into orders (id, user_id, course_id, amount, status, correlation_id, created_at, updated_at)
    values (${order}, ${SCENARIO_USER}, ${courseId}, ${amount}, 'PENDING', 'examples', ${at}, ${at})`;
  await insertPublished(sql, "order.created", { orderId: order, userId: SCENARIO_USER, courseId, amount });
  await sql`update outbox_events set id = ${event}, payload = jsonb_set(payload, '{eventId}', to_jsonb(${event}::text))`;
  await sql`
    insert into processed_events (event_id, consumer, processed_at) values (${event}, ${CONSUMER}, ${at})`;
  await sql`
    insert into dead_letters
      (id, consumer, order_id, body, reason, detail, attempts, first_failed_at, last_failed_at)
    values (${deadLetter}, ${CONSUMER}, ${order}, 'body', 'retries exhausted', 'in full', 4, ${at}, ${at})`;
  await sql`
    insert into replays (id, filter, total, already_processed, created_at)
    values (${replay}, ${sql.json({ orderId: order })}, 1, 1, ${at})`;
  await sql`insert into faults (id, point, remaining, created_at) values (${fault}, 'delivery.lost', 1, ${at})`;
  await sql`insert into holds (part, since, until) values ('relay', ${at}, now() + interval '1 hour')`;
  await sql`insert into replay_events values (${replay}, 1, ${event}, ${CONSUMER})`;
}

type DescribedRequest = ReturnType<typeof describedRequests> extends Generator<infer R> ? R : never;

/**
 * Every request that can be made of the examples: each body, and without one where it may be left away; of the query's
 * fields none, each alone, and all together. Its status is the one that the document promises.
 */
function* describedRequests({ paths }: OpenApiDocument) {
  for (const [template, operations] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const examples = (place: string) =>
        operation.parameters.filter((parameter) => parameter.in === place && parameter.example !== undefined)
          .map(({ name, example }): [string, string] => [name, String(example)]);
      let path = template;
      for (const [name, id] of examples("path")) path = path.replace(`{${name}}`, encodeURIComponent(id));
      assert(!path.includes("{"), `${method} ${template}: a part of the path has no example`);
      const query = examples("query");
      const queries = [[], ...query.map((pair) => [pair]), ...query.length > 1 ? [query] : []];
      const success = Math.min(...Object.keys(operation.responses).map(Number));
      for (const { name, headers, body, status = success } of bodiesOf(operation)) {
        for (const pairs of queries.map((pairs) => new URLSearchParams(pairs))) {
          yield {
            name: [operation.operationId, name, pairs].filter(String).join(" "),
            method: method.toUpperCase(),
            template,
            url: `${path}?${pairs}`,
            headers: { ...Object.fromEntries(examples("header")), ...headers },
            body,
            status,
            operation,
          };
        }
      }
    }
  }
}

interface Sent {
  readonly name: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
  readonly status?: number;
}

function bodiesOf({ requestBody }: Operation): Sent[] {
  if (!requestBody) return [{ name: "" }];
  const bodies = Object.entries(requestBody.content).flatMap(([type, { examples = {} }]) =>
    Object.entries(examples).map(([name, { value, "x-status": status }]): Sent => {
      const isForm = type.endsWith("form-urlencoded");
      const body = isForm ? `${new URLSearchParams(Object.entries(value))}` : JSON.stringify(value);
      return { name, headers: { "content-type": type }, body, ...(status ? { status } : {}) };
    })
  );
  return requestBody.required ? bodies : [...bodies, { name: "without a body" }];
}

Deno.test("what a handler is given has no getters, which would have each request outlive the young generation", async () => {
  const accessors: string[] = [];
  const app = routes(
    "Test",
    route("GET /", "look", "Looks", {
      answers: [json(200, "What there is.", z.object({}))],
      handle: (request) => {
        const parts = Object.entries(Object.getOwnPropertyDescriptors(request));
        accessors.push(...parts.filter(([, { get }]) => get).map(([name]) => name));
        assertEquals(Object.getPrototypeOf(request), Object.prototype);
        return {};
      },
    }),
  );
  assertEquals((await app.request("/")).status, 200);
  assertEquals(accessors, []);
});
