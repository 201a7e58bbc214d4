/**
 * Describes routes in the words of OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1), right where they are registered.
 * Schemas are those by which requests are checked and the page reads answers.
 *
 * @module
 */
import { resolver, uniqueSymbol } from "hono-openapi";
import { z } from "zod";
import { problemSchema } from "../../shared/ops/answers.ts";
import type { App } from "../correlation.ts";
import type { Answer, AnswerHeader, BodyExample, Content, Description, Parameter } from "./description.ts";
import { idPath } from "../path_id.ts";

/** A schema of zod or zod/mini. */
export type AnySchema = z.core.$ZodType;

/**
 * `handler`, described. Where the library has a middleware for this, which every request would run through, the
 * description here is on the handler itself, and is made when it is asked for: it costs requests nothing.
 */
export function described<H extends object>(describe: () => Description, handler: H): H {
  const description = {
    get spec() {
      return describe();
    },
  };
  return Object.assign(handler, { [uniqueSymbol]: description });
}

/**
 * The handlers of `app`, described: by method and path, such as `GET /:id`. Answers with `app`.
 *
 * Errors: throws where there is no such route.
 */
export function describeRoutes(app: App, descriptions: Readonly<Record<string, () => Description>>): App {
  for (const [route, describe] of Object.entries(descriptions)) {
    const found = app.routes.findLast(({ method, path }) => `${method} ${path}` === route);
    if (!found) throw new Error(`Cannot describe ${route}: there is no such route.`);
    described(describe, found.handler);
  }
  return app;
}

const CORRELATION_ID: AnswerHeader = {
  description: "The correlation id of the request: the caller's, or a new one.",
  required: true,
  schema: { type: "string" },
};

/** The header `location`. */
export const LOCATION: Readonly<Record<string, AnswerHeader>> = {
  location: { description: "The path to go on with.", required: true, schema: { type: "string" } },
};

/** An answer in JSON. */
export function json(
  description: string,
  schema: AnySchema,
  headers: Readonly<Record<string, AnswerHeader>> = {},
): Answer {
  return answer(description, { "application/json": { schema: resolver(schema) } }, headers);
}

/** An answer of another type, or without a body. */
export function answer(
  description: string,
  content?: Content,
  headers: Readonly<Record<string, AnswerHeader>> = {},
): Answer {
  return {
    description,
    headers: { "x-correlation-id": CORRELATION_ID, ...headers },
    ...(content ? { content } : {}),
  };
}

/** A body of another type, as a text unless there is a schema for it. */
export function mediaType(type: string, schema?: AnySchema): Content {
  return { [type]: { schema: schema ? resolver(schema) : { type: "string" } } };
}

/** How a body in JSON is refused. */
export const BODY_REFUSALS = {
  400: "The body is not valid.",
  413: "The body is too large.",
  415: "The body is not declared as JSON.",
} as const;

/** Refusals by status, each with when it is given. */
export function problems(when: Readonly<Record<number, string>>): Record<number, Answer> {
  const content = { "application/problem+json": { schema: resolver(problemSchema) } };
  return Object.fromEntries(
    Object.entries(when).map(([status, description]) => [status, answer(description, content)]),
  );
}

/** A body in JSON, with examples by name. */
export function jsonBody(
  schema: AnySchema,
  examples: Readonly<Record<string, BodyExample>>,
  required = true,
): NonNullable<Description["requestBody"]> {
  return { required, content: { "application/json": { schema: resolver(schema), examples } } };
}

/** The fields of a query. */
export function queryOf(schema: AnySchema): Parameter[] {
  return parametersOf("query", schema);
}

/** The id in a path. */
export function pathId(description: string, example: string): Parameter[] {
  return parametersOf("path", idPath).map((parameter) => ({ ...parameter, description, example }));
}

function parametersOf(place: "path" | "query", schema: AnySchema): Parameter[] {
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { io: "input" });
  return Object.entries(properties).map(([name, property]) => {
    const { description, example, ...rest } = typeof property === "boolean" ? {} : property;
    return {
      name,
      in: place,
      ...(description === undefined ? {} : { description }),
      ...(required.includes(name) ? { required: true } : {}),
      schema: rest,
      ...(example === undefined ? {} : { example }),
    };
  });
}
