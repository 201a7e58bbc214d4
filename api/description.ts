/**
 * What can be said of a route, in the words of OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1).
 *
 * @module
 */
import type { z } from "zod";

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
