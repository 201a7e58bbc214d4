/**
 * What can be said of a route, in the words of OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1).
 *
 * @module
 */
import type { z } from "zod";

/** A JSON Schema, as zod makes it. */
export type JsonSchema = z.core.JSONSchema.BaseSchema;

/** Something beside the body that a request may carry. */
export interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly description?: string | undefined;
  readonly required?: boolean;
  readonly schema: JsonSchema;
  /** A value with which the request works; a test sends it. */
  readonly example?: unknown;
}

/** A body as an example, which a test sends. */
export interface BodyExample {
  readonly summary: string;
  readonly value: unknown;
  /** The status of the answer, where it is not the one of success. */
  readonly "x-status"?: number;
}

/** A header of an answer. */
export interface AnswerHeader {
  readonly description: string;
  readonly required?: boolean;
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
  readonly headers?: Readonly<Record<string, AnswerHeader>>;
  readonly content?: Content;
}

/** What is said of a route; of a middleware, it is said of all routes behind it. */
export interface Description {
  /** The name of the operation, for generated clients. */
  readonly operationId?: string;
  readonly tags?: readonly string[];
  readonly summary?: string;
  readonly description?: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly required: boolean; readonly content: Content };
  readonly responses?: Readonly<Record<number, Answer>>;
  /** Which of the ways in are open; an empty one is to come without anything. */
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[];
}
