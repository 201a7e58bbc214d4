/**
 * The correlation id and the trace context of a request.
 *
 * @module
 */
import type { Hono, MiddlewareHandler } from "hono";
import { createMiddleware } from "hono/factory";
import { correlationIdSchema } from "../shared/events.ts";
import { formatTraceparent, parseTraceparent, type Span } from "../shared/process/tracing.ts";
import { problems } from "./openapi/describe.ts";
import type { Description } from "./openapi/description.ts";
import { HttpProblem } from "./http.ts";

/** The header that carries the correlation id, both ways. */
export const CORRELATION_HEADER = "x-correlation-id";

/** What a handler finds in its context. */
export interface CorrelationEnv {
  /** Filled in by the `correlation` middleware; `span` by `traceRequests`, where there is one. */
  Variables: { correlationId: string; traceparent: string; span?: Span };
}

/** An application, or a part of one, whose requests have gone through `correlation`. */
export type App = Hono<CorrelationEnv>;

/** A middleware of such an application. */
export type Middleware = MiddlewareHandler<CorrelationEnv>;

/** Takes the caller's ids, or makes them. The correlation id is on every answer, errors included. */
export const correlation: Middleware = createMiddleware<CorrelationEnv>(async (c, next) => {
  const given = c.req.header(CORRELATION_HEADER);
  const parsed = correlationIdSchema.safeParse(given ?? crypto.randomUUID());
  const id = parsed.success ? parsed.data : crypto.randomUUID();
  c.set("correlationId", id);
  c.set("traceparent", traceparentOf(c.req.header("traceparent")));
  c.header(CORRELATION_HEADER, id);
  if (!parsed.success) {
    throw new HttpProblem(400, `The header ${CORRELATION_HEADER} must be 1 to 128 visible ASCII characters.`);
  }
  await next();
});

/** What `correlation` makes true of every route. */
export function describeCorrelation(): Description {
  return {
    parameters: [
      {
        name: CORRELATION_HEADER,
        in: "header",
        description:
          "Shared by all that is about one order, on every event and every log line; made unless given.",
        schema: { type: "string", pattern: "^[\\x21-\\x7e]{1,128}$" },
        example: "762f45dc-e15f-4051-97c3-a413cb494008",
      },
      {
        name: "traceparent",
        in: "header",
        description: "W3C trace context, which goes with every event; made unless given.",
        schema: { type: "string" },
        example: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      },
    ],
    responses: problems({
      400: `The header ${CORRELATION_HEADER} is not valid.`,
      500: "Something went wrong; the log has it under the correlation id.",
    }),
  };
}

function traceparentOf(given: string | undefined): string {
  const context = given === undefined ? null : parseTraceparent(given);
  if (context) return formatTraceparent(context);
  const random = crypto.getRandomValues(new Uint8Array(24)).toHex();
  return `00-${random.slice(0, 32)}-${random.slice(32)}-01`;
}
