/**
 * Errors as problem details (RFC 9457, https://www.rfc-editor.org/rfc/rfc9457).
 *
 * @module
 */
import type { z } from "zod";
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { FieldError, Problem } from "../shared/ops/answers.ts";

/** A request under way, with all that Hono offers to answer it. */
export type RequestContext = Context;

/** A status code whose answer has a body. */
export type ProblemStatus = ContentfulStatusCode;

/** The parts of a request that are checked field by field. */
export type RequestPart = FieldError["in"];

/** A problem that is an answer: throw it anywhere below a handler. */
export class HttpProblem extends Error {
  override name = "HttpProblem";
  readonly status: ProblemStatus;
  /** The fields at fault, where the problem is the request's. */
  readonly errors: readonly FieldError[];
  readonly headers: Readonly<Record<string, string>>;

  /** A problem with a `detail` that says what to do about it. */
  constructor(
    status: ProblemStatus,
    detail: string,
    more: { readonly errors?: readonly FieldError[]; readonly headers?: Readonly<Record<string, string>> } =
      {},
  ) {
    super(detail);
    this.status = status;
    this.errors = more.errors ?? [];
    this.headers = more.headers ?? {};
  }
}

const TITLES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** The answer that tells of `problem`. */
export function problemResponse(c: RequestContext, problem: HttpProblem): Response {
  const body = {
    type: "about:blank",
    title: TITLES[problem.status] ?? "Error",
    status: problem.status,
    detail: problem.message,
    instance: c.req.path,
    ...(problem.errors.length > 0 ? { errors: [...problem.errors] } : {}),
  } satisfies Problem;
  return c.body(JSON.stringify(body), problem.status, {
    ...problem.headers,
    "content-type": "application/problem+json",
  });
}

/** The value that `schema` makes of a part of the request; throws a 400 that names every field at fault. */
export function parseOr400<T>(schema: z.ZodType<T>, value: unknown, part: RequestPart): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new HttpProblem(400, `The ${part} of the request is not valid.`, {
    errors: parsed.error.issues.map((issue) => ({
      field: issue.path.join("."),
      in: part,
      ...(part === "body" ? { pointer: ["#", ...issue.path].join("/") } : {}),
      detail: issue.message,
    })),
  });
}
