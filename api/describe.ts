/**
 * Describes routes in the words of OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1), right where they are registered.
 * Schemas are those by which requests are checked and the page reads answers.
 *
 * @module
 */
import { resolver, uniqueSymbol } from "hono-openapi";
import { z } from "zod";
import { problemSchema } from "../shared/answers/problem.ts";
import { idPath } from "./path_id.ts";

/**
 * A schema of zod or zod/mini.
 *
 * @internal
 */
export type AnySchema = z.core.$ZodType;

/**
 * A JSON Schema, as zod makes it.
 *
 * @internal
 */
export type JsonSchema = z.core.JSONSchema.BaseSchema;

/** Something beside the body that a request may carry. */
export interface Parameter {
  /** Its name. */
  readonly name: string;
  /** Where it stands. */
  readonly in: "path" | "query" | "header";
  /** What it is for. */
  readonly description?: string | undefined;
  /** Whether it has to be there. */
  readonly required?: boolean;
  /** What it may be. */
  readonly schema: JsonSchema;
  /** A value with which the request works; a test sends it. */
  readonly example?: unknown;
}

/** A body as an example, which a test sends. */
export interface BodyExample {
  /** What it asks for. */
  readonly summary: string;
  /** The body. */
  readonly value: unknown;
  /** The status of the answer, where it is not the one of success. */
  readonly "x-status"?: number;
}

/** A header of an answer. */
export interface AnswerHeader {
  /** What it says. */
  readonly description: string;
  /** Whether every such answer has it. */
  readonly required?: boolean;
  /** What it looks like. */
  readonly schema: JsonSchema;
}

/** An answer, or the body of a request: by media type. */
export type Content = Readonly<
  Record<string, { readonly schema: unknown; readonly examples?: Readonly<Record<string, BodyExample>> }>
>;

/** One answer of a route. */
export interface Answer {
  /** When it is given, and what it says. */
  readonly description: string;
  /** Its headers. */
  readonly headers?: Readonly<Record<string, AnswerHeader>>;
  /** Its body. */
  readonly content?: Content;
}

/** What is said of a route; of a middleware, it is said of all routes behind it. */
export interface Description {
  /** The name of the operation, for generated clients. */
  readonly operationId?: string;
  /** What it belongs to. */
  readonly tags?: readonly string[];
  /** What it does, in a few words. */
  readonly summary?: string;
  /** What else there is to know. */
  readonly description?: string;
  /** What a request may carry. */
  readonly parameters?: readonly Parameter[];
  /** The body of a request. */
  readonly requestBody?: { readonly required: boolean; readonly content: Content };
  /** The answers by status. */
  readonly responses?: Readonly<Record<number, Answer>>;
  /** Which of the ways in are open; an empty one is to come without anything. */
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[];
}

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

const CORRELATION_ID: AnswerHeader = {
  description: "The correlation id of the request: the caller's, or a new one.",
  required: true,
  schema: { type: "string" },
};

/** The header `location`. */
export const LOCATION: Readonly<Record<string, AnswerHeader>> = {
  location: { description: "The path to go on with.", required: true, schema: { type: "string" } },
};

/**
 * An answer in JSON.
 *
 * @internal
 */
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

/**
 * A body of another type, as a text unless there is a schema for it.
 *
 * @internal
 */
export function mediaType(type: string, schema?: AnySchema): Content {
  return { [type]: { schema: schema ? resolver(schema) : { type: "string" } } };
}

/** Refusals by status, each with when it is given. */
export function problems(when: Readonly<Record<number, string>>): Record<number, Answer> {
  const content = { "application/problem+json": { schema: resolver(problemSchema) } };
  return Object.fromEntries(
    Object.entries(when).map(([status, description]) => [status, answer(description, content)]),
  );
}

/**
 * A body in JSON, with examples by name.
 *
 * @internal
 */
export function jsonBody(
  schema: AnySchema,
  examples: Readonly<Record<string, BodyExample>>,
  required = true,
): NonNullable<Description["requestBody"]> {
  return { required, content: { "application/json": { schema: resolver(schema), examples } } };
}

/**
 * The fields of a query.
 *
 * @internal
 */
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
