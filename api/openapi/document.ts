// `GET /openapi.json`: the API, described in OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1) out of what its routes
// say of themselves.

import { z } from "zod";
import { problemSchema } from "../../shared/ops/answers.ts";
import { type App, idPath } from "../http.ts";
import { OPS_COOKIE } from "../ops/access.ts";
import {
  type About,
  aboutOf,
  type Answer,
  type AnySchema,
  EXAMPLE_IDS,
  json,
  route,
  routes,
} from "./route.ts";

const TAGS = {
  Orders: "Buying courses.",
  Scenarios: "Orders that go a certain way, through the normal flow.",
  Faults: "What is made to fail on purpose; only where `FAULTS_ENABLED` is on.",
  Holds: "Stop the relay or a consumer, go on step by step, resume.",
  Inspection: "How everything stands. Changes nothing.",
  Outbox: "Events on their way to the broker.",
  "Dead letters": "What consumers gave up on.",
  Replays: "Published events, sent to their consumers once more.",
  Health: "For whoever runs the process.",
  Page: "The debug page, this reference, and their files.",
};

const INFO = {
  title: "OrderFlow",
  version: "1",
  description:
    "The purchase of a course as an event-driven workflow. Errors are problem details (RFC 9457). " +
    "What goes over the broker is described in specs/asyncapi.yaml.",
};

const SECURITY_SCHEMES = {
  opsToken: { type: "http", scheme: "bearer", description: "The value of `OPS_TOKEN`." },
  opsCookie: {
    type: "apiKey",
    in: "cookie",
    name: OPS_COOKIE,
    description: "Of whoever has signed in on the page.",
  },
};

const CORRELATION_ID = {
  description: "The correlation id of the request: the caller's, or a new one.",
  required: true,
  schema: { type: "string" },
};

/**
 * Describes `app` as it is when it is first asked, in itself and all that it has routes for. Open to everyone, as
 * `/healthz` is: it says nothing that the sources do not, and a client needs it before it has a token.
 */
export function openApiRoutes(app: App): App {
  let document: object | undefined;
  return routes(
    "Page",
    route("GET /openapi.json", "readOpenApi", "This description", {
      answers: [json(200, "OpenAPI 3.1.", z.record(z.string(), z.unknown()))],
      handle: () => document ??= describe(app),
    }),
  );
}

function describe(app: App): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const [i, { method, path, handler }] of app.routes.entries()) {
    const about = aboutOf(handler);
    if (!about?.operationId) continue; // a middleware
    const around = app.routes.slice(0, i).filter((before) => covers(before.path, path))
      .flatMap((before) => aboutOf(before.handler) ?? []).filter(({ operationId }) => !operationId);
    const template = path.replaceAll(/:(\w+)/g, "{$1}");
    (paths[template] ??= {})[method.toLowerCase()] = operationOf(about, around);
  }
  const tags = Object.entries(TAGS).map(([name, description]) => ({ name, description }));
  const servers = [{ url: "/", description: "This server." }];
  const schemas: Record<string, object> = {};
  const components = { securitySchemes: SECURITY_SCHEMES, schemas };
  return { openapi: "3.1.0", info: INFO, servers, tags, components, paths: withRefs(paths, schemas) };
}

/** A copy in which each part that has a `ref` is replaced by a reference; the part is put into `schemas` under that name. */
function withRefs(paths: object, schemas: Record<string, object>): object {
  return JSON.parse(JSON.stringify(paths), (_, part) => {
    if (typeof part?.ref !== "string") return part;
    const { ref, ...rest } = part;
    schemas[ref] = rest;
    return { $ref: `#/components/schemas/${ref}` };
  });
}

/** Whether a middleware that is registered for `pattern` is run for `path`. */
function covers(pattern: string, path: string): boolean {
  return pattern.endsWith("/*") ? `${path}/`.startsWith(pattern.slice(0, -1)) : pattern === path;
}

function operationOf(about: About, around: readonly About[]): object {
  const { tag, operationId, summary, description, body, answers = [] } = about;
  const all = [...around, about];
  const refusals = all.flatMap((each) => Object.entries(refusalsOf(each)));
  const refusal = { headers: {}, content: { "application/problem+json": problemSchema } };
  return {
    operationId,
    tags: [tag],
    summary,
    description,
    security: all.findLast(({ security }) => security)?.security,
    parameters: all.flatMap(parametersOf),
    requestBody: body && {
      required: !body.optional,
      content: {
        [body.type ?? "application/json"]: { schema: jsonSchema(body.schema), examples: body.examples },
      },
    },
    responses: Object.fromEntries([
      ...refusals.map(([status, description]) => [status, responseOf({ description, ...refusal })]),
      ...answers.map((answer) => [answer.status, responseOf(answer)]),
    ]),
  };
}

function refusalsOf({ id, query, body, refusals }: About): Readonly<Record<number, string>> {
  const checked = [...id ? ["the id"] : [], ...query ? ["the query"] : [], ...body ? ["the body"] : []];
  const invalid = `Not valid: ${checked.join(", or ")}. Each field at fault is named.`;
  return {
    ...(checked.length > 0 ? { 400: invalid } : {}),
    ...(id ? { 404: `There is no such ${wordsOf(id)}.` } : {}),
    ...(body ? { 413: "The body is too large.", 415: "The body is of another type." } : {}),
    ...refusals,
  };
}

/** `deadLetter` is a dead letter. */
function wordsOf(id: string): string {
  return id.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

function parametersOf({ id, query, parameters = [] }: About): object[] {
  const ids = id && { description: `The id of the ${wordsOf(id)}.`, example: EXAMPLE_IDS[id] };
  return [
    ...parameters,
    ...(ids ? fieldsOf("path", idPath, ids) : []),
    ...(query ? fieldsOf("query", query) : []),
  ];
}

function fieldsOf(place: "path" | "query", schema: AnySchema, more: object = {}): object[] {
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { io: "input" });
  return Object.entries(properties).map(([name, property]) => {
    const { description, example, ...rest } = typeof property === "boolean" ? {} : property;
    const isRequired = required.includes(name);
    return { name, in: place, description, required: isRequired, schema: rest, example, ...more };
  });
}

function responseOf({ description, headers, content }: Omit<Answer, "status">): object {
  return {
    description,
    headers: { "x-correlation-id": CORRELATION_ID, ...headers },
    content: Object.fromEntries(
      Object.entries(content).map(([type, schema]) => [
        type,
        { schema: schema ? jsonSchema(schema) : { type: "string" } },
      ]),
    ),
  };
}

function jsonSchema(schema: AnySchema): object {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io: "input" });
  return json;
}
