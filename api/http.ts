// What all routes share: errors as problem details (RFC 9457, https://www.rfc-editor.org/rfc/rfc9457), requests that are
// checked field by field, bodies that are bounded, and pages of lists.

import type { Context, Hono, MiddlewareHandler } from "hono";
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { Buffer } from "node:buffer";
import { STATUS_CODES } from "node:http";
import { z } from "zod";
import { idSchema } from "../shared/events.ts";
import type { FieldError, Problem } from "../shared/ops/answers.ts";
import { withTimeout } from "../shared/process/stop.ts";
import type { Span } from "../shared/process/tracing.ts";

/** What a handler finds in its context, behind the middleware `correlation`; `span` where requests are traced. */
export interface ApiEnv {
  Variables: { correlationId: string; traceparent: string; tracestate: string | null; span?: Span };
}
export type App = Hono<ApiEnv>;
export type Middleware = MiddlewareHandler<ApiEnv>;
export type RequestContext = Context<ApiEnv>;
/** A status code whose answer has a body. */
export type ProblemStatus = ContentfulStatusCode;

/** A problem that is an answer: throw it anywhere below a handler, with a `detail` that says what to do about it. */
export class HttpProblem extends HTTPException {
  override name = "HttpProblem";

  /** `errors` are the fields at fault, where the problem is the request's. */
  constructor(
    status: ProblemStatus,
    detail: string,
    readonly more: {
      readonly headers?: Readonly<Record<string, string>>;
      readonly errors?: readonly FieldError[];
    } = {},
  ) {
    super(status, { message: detail });
  }
}

/** By RFC 9110; Node has the older names of two. */
const TITLES: Readonly<Record<number, string | undefined>> = {
  ...STATUS_CODES,
  413: "Content Too Large",
  422: "Unprocessable Content",
};

/** The answer that tells of `problem`. */
export function problemResponse(c: RequestContext, problem: HttpProblem): Response {
  const { status, message: detail, more: { headers, errors } } = problem;
  const body: Problem = {
    type: "about:blank",
    title: TITLES[status] ?? "Error",
    status,
    detail,
    instance: c.req.path,
    ...(errors ? { errors: [...errors] } : {}),
  };
  return c.body(JSON.stringify(body), status, { ...headers, "content-type": "application/problem+json" });
}

/** A 503 that says when to try again, in seconds. */
export function unavailable(detail: string, retryAfter = 1): HttpProblem {
  return new HttpProblem(503, detail, { headers: { "retry-after": String(retryAfter) } });
}

/** A 404 for a path that leads nowhere. */
export function nothingAt(c: RequestContext, more = ""): HttpProblem {
  return new HttpProblem(404, `There is nothing at ${c.req.path}.${more}`);
}

/** What was found; throws a 404 with `detail` where nothing was. */
export function found<T extends object>(value: T | null | undefined, detail: string): T {
  if (!value) throw new HttpProblem(404, detail);
  return value;
}

/** The value that `schema` makes of a part of the request; throws a 400 that names every field at fault. */
export function parseOr400<T>(schema: z.ZodType<T>, value: unknown, part: FieldError["in"]): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalid(part, parsed.error.issues.map(({ path, message }) => [path, message]));
}

/** A 400 that names fields: each by where it stands in that part of the request, with what is wrong with it. */
export function invalid(
  part: FieldError["in"],
  faults: readonly [path: readonly PropertyKey[], detail: string][],
): HttpProblem {
  return new HttpProblem(400, `The ${part} of the request is not valid.`, {
    errors: faults.map(([path, detail]) => ({
      field: path.join("."),
      in: part,
      ...(part === "body" ? { pointer: ["#", ...path].join("/") } : {}),
      detail,
    })),
  });
}

/** The largest body that is read, in bytes. An order takes about 150. */
const MAX_BODY_BYTES = 16 * 1024;
/** How long a body may take to come, in milliseconds. The server itself waits for as long as the client likes. */
const BODY_MS = 10_000;

/** The type of the body as the request declares it, in lower case and without parameters, or an empty text. */
export function mediaTypeOf(c: RequestContext): string {
  return c.req.header("content-type")?.split(";")[0]?.trim().toLowerCase() ?? "";
}

/**
 * The body of the request as JSON. Throws a 415 where it is declared as something else, a 400 where it is no JSON in
 * UTF-8, and as `readBody` does.
 */
export async function readJson(c: RequestContext, bodyMs = BODY_MS): Promise<unknown> {
  if (!/^application\/([\w.-]+\+)?json$/.test(mediaTypeOf(c))) {
    throw new HttpProblem(415, "Send the body as JSON, with the header content-type: application/json.");
  }
  const bytes = await readBody(c.req.raw, bodyMs);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    const why = error instanceof SyntaxError ? error.message : "it is not UTF-8";
    throw new HttpProblem(400, `The body is not JSON: ${why}.`);
  }
}

/**
 * The bytes of a body. One that says how long it is, which the server holds it to, is read in one go: without a stream,
 * which costs more than all else that is done about an order's request (and which Hono's `bodyLimit` makes of each).
 * Throws a 415 where it is compressed; a 413 where there are more than `MAX_BODY_BYTES`, without reading the rest; a 408 where they have not come after
 * `bodyMs` milliseconds, 10 s by default: the server ends the connection then; a 400 where they end too soon.
 */
export async function readBody(request: Request, bodyMs = BODY_MS): Promise<Uint8Array> {
  const encoding = request.headers.get("content-encoding")?.trim().toLowerCase() ?? "identity";
  if (encoding !== "identity") {
    const headers = { "accept-encoding": "identity" }; // RFC 9110, section 12.5.3: says what is taken
    throw new HttpProblem(415, `Send the body as it is, without the content-encoding ${encoding}.`, {
      headers,
    });
  }
  const length = request.headers.get("content-length");
  const isSized = length !== null && !request.headers.has("transfer-encoding");
  if (isSized && Number(length) > MAX_BODY_BYTES) throw tooLarge();
  const reading = isSized ? request.bytes() : collect(request.body);
  const whole = reading.catch((error) => {
    throw error instanceof HttpProblem
      ? error
      : new HttpProblem(400, "The body ended before all of it had come.");
  });
  const bytes = await withTimeout(bodyMs, whole);
  if (bytes) return bytes;
  throw new HttpProblem(408, `The body had not come after ${bodyMs / 1000} s. Send the request again.`);
}

async function collect(body: ReadableStream<Uint8Array> | null): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLarge(): HttpProblem {
  return new HttpProblem(413, `The body may have at most ${MAX_BODY_BYTES} bytes.`);
}

export const idPath = z.object({ id: idSchema });

/**
 * The query of a paged list, to be spread into a schema: `limit` (1 to 100, by default 20), and `cursor`, which is the
 * `nextCursor` of the page before.
 */
export const pageQuery = {
  limit: z.coerce.number({ error: "must be a whole number from 1 to 100" }).int().min(1).max(100).default(20)
    .meta({ description: "The most rows to answer with.", example: 10 }),
  cursor: idSchema.optional().meta({ description: "The `nextCursor` of the page before." }),
};

/** The query of a list that has no filters. */
export const pageSchema = z.object(pageQuery);

/** The cursor of the next page: what `cursorOf` makes of the last row; null behind a page that is not full. */
export function nextCursor<Row>(
  rows: readonly Row[],
  limit: number,
  cursorOf: (row: Row) => string,
): string | null {
  const last = rows.length === limit ? rows.at(-1) : undefined;
  return last ? cursorOf(last) : null;
}

export const byId = ({ id }: { readonly id: string }): string => id;

export const consumerSchema = z.string().regex(/^[\w.:-]{1,200}$/, {
  error: "must be the name of a consumer",
});
