/**
 * The requests that an OpenAPI document gives as examples.
 *
 * @module
 */
import { z } from "zod";

const parameterSchema = z.object({
  name: z.string(),
  in: z.enum(["path", "query", "header"]),
  required: z.boolean().optional(),
  example: z.unknown().optional(),
});

const contentSchema = z.record(
  z.string(),
  z.object({
    schema: z.unknown().optional(),
    examples: z.record(
      z.string(),
      z.object({ value: z.unknown().optional(), "x-status": z.number().optional() }),
    )
      .default({}),
  }),
);

const answerSchema = z.object({
  description: z.string(),
  headers: z.record(z.string(), z.object({ required: z.boolean().optional() })).default({}),
  content: contentSchema.default({}),
});

const operationSchema = z.object({
  operationId: z.string(),
  tags: z.array(z.string()).length(1),
  summary: z.string(),
  parameters: z.array(parameterSchema).default([]),
  requestBody: z.object({ required: z.boolean(), content: contentSchema }).optional(),
  responses: z.record(z.string(), answerSchema),
  security: z.array(z.record(z.string(), z.array(z.string()))).optional(),
});

/**
 * What is looked at of an OpenAPI document.
 *
 * @internal
 */
export const documentSchema = z.object({
  openapi: z.string(),
  tags: z.array(z.object({ name: z.string() })),
  paths: z.record(z.string(), z.record(z.string(), operationSchema)),
});

/**
 * A document, as it was read.
 *
 * @internal
 */
export type OpenApiDocument = z.infer<typeof documentSchema>;

/**
 * One operation of it.
 *
 * @internal
 */
export type Operation = z.infer<typeof operationSchema>;

/** A request that the document gives as an example. */
export interface DescribedRequest {
  /** Which one it is, for people. */
  readonly name: string;
  /** The method, in capitals. */
  readonly method: string;
  /** The path of the document, with `{id}` and the like in it. */
  readonly template: string;
  /** The path and query to ask for. */
  readonly url: string;
  /** Its headers; without a token. */
  readonly headers: Readonly<Record<string, string>>;
  /** Its body. */
  readonly body: string | undefined;
  /** The status that the document promises. */
  readonly status: number;
  /** What the document says of the operation. */
  readonly operation: Operation;
}

/**
 * Every request that can be made of the examples: each body, and without one where it may be left away; of the query's
 * fields none, each alone, and all together.
 *
 * Errors: throws where a part of a path has no example.
 */
export function describedRequests({ paths }: OpenApiDocument): DescribedRequest[] {
  return Object.entries(paths).flatMap(([template, operations]) =>
    Object.entries(operations).flatMap(([method, operation]) =>
      requestsOf(method.toUpperCase(), template, operation)
    )
  );
}

function requestsOf(method: string, template: string, operation: Operation): DescribedRequest[] {
  const examples = (place: string) =>
    operation.parameters.filter((parameter) => parameter.in === place && parameter.example !== undefined)
      .map(({ name, example }): [string, string] => [name, String(example)]);
  const inPath = new Map(examples("path"));
  const path = template.replaceAll(/\{(\w+)\}/g, (_, name) => {
    const example = inPath.get(name);
    if (example === undefined) throw new Error(`${method} ${template} has no example for ${name}`);
    return encodeURIComponent(example);
  });
  const query = examples("query");
  const queries = [[], ...query.map((pair) => [pair]), ...query.length > 1 ? [query] : []];
  const success = Math.min(...Object.keys(operation.responses).map(Number));
  return bodiesOf(operation).flatMap(({ name, type, body, status }) =>
    queries.map((pairs) => ({
      name: [operation.operationId, name, new URLSearchParams(pairs)].filter(String).join(" "),
      method,
      template,
      url: pairs.length > 0 ? `${path}?${new URLSearchParams(pairs)}` : path,
      headers: { ...Object.fromEntries(examples("header")), ...type ? { "content-type": type } : {} },
      body,
      status: status ?? success,
      operation,
    }))
  );
}

interface Body {
  readonly name: string;
  readonly type?: string;
  readonly body: string | undefined;
  readonly status?: number | undefined;
}

function bodiesOf({ requestBody }: Operation): Body[] {
  if (!requestBody) return [{ name: "", body: undefined }];
  const bodies = Object.entries(requestBody.content).flatMap(([type, { examples }]) =>
    Object.entries(examples).map(([name, { value, "x-status": status }]): Body => ({
      name,
      type,
      body: type.endsWith("form-urlencoded") ? encodeForm(value) : JSON.stringify(value),
      status,
    }))
  );
  return requestBody.required ? bodies : [...bodies, { name: "without a body", body: undefined }];
}

function encodeForm(value: unknown): string {
  return new URLSearchParams(z.record(z.string(), z.string()).parse(value)).toString();
}
