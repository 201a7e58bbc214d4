/**
 * The correlation id and the trace context of a request.
 *
 * @module
 */
import { trace } from "@opentelemetry/api";
import { matchedRoutes } from "hono/route";
import type { Cause } from "../shared/broker/message.ts";
import { correlationIdSchema } from "../shared/events.ts";
import {
  formatTraceparent,
  parseTraceparent,
  traceparentOf,
  tracestateOf,
} from "../shared/process/tracing.ts";
import { HttpProblem, type Middleware, type RequestContext } from "./http.ts";
import { type About, described } from "./openapi/route.ts";

/** Carries the correlation id, both ways. */
const CORRELATION_HEADER = "x-correlation-id";

const ABOUT: About = {
  parameters: [
    {
      name: CORRELATION_HEADER,
      in: "header",
      description:
        "Shared by all that is about one order, on every event and every log line; made by default.",
      schema: { type: "string", pattern: "^[\\x21-\\x7e]{1,128}$" },
      example: "762f45dc-e15f-4051-97c3-a413cb494008",
    },
    {
      name: "traceparent",
      in: "header",
      description: "W3C trace context, which goes with every event; made by default.",
      schema: { type: "string" },
      example: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    },
    {
      name: "tracestate",
      in: "header",
      description: "What goes with `traceparent`: up to 512 characters, which go with every event.",
      schema: { type: "string" },
      example: "congo=t61rcWkgMzE",
    },
  ],
  refusals: {
    400: `The header ${CORRELATION_HEADER} is not valid.`,
    500: "Something went wrong; the log has it under the correlation id.",
  },
};

/** Takes the caller's ids, or makes them. The correlation id is on every answer, errors included. */
export const correlation: Middleware = described(ABOUT, async (c, next) => {
  const parsed = correlationIdSchema.safeParse(c.req.header(CORRELATION_HEADER) ?? crypto.randomUUID());
  const id = parsed.success ? parsed.data : crypto.randomUUID();
  c.set("correlationId", id);
  const given = parseTraceparent(c.req.header("traceparent") ?? "");
  c.set("traceparent", given ? formatTraceparent(given) : newTraceparent());
  c.set("tracestate", given && tracestateOf(c.req.header("tracestate")));
  c.header(CORRELATION_HEADER, id);
  if (!parsed.success) {
    throw new HttpProblem(400, `The header ${CORRELATION_HEADER} must be 1 to 128 visible ASCII characters.`);
  }
  await next();
});

/** What caused the events that the request leads to. */
export function causeOf(c: RequestContext): Cause {
  const { correlationId, traceparent, tracestate } = c.var;
  return { correlationId, traceparent, tracestate };
}

function newTraceparent(): string {
  const random = crypto.getRandomValues(new Uint8Array(24)).toHex();
  return `00-${random.slice(0, 32)}-${random.slice(32)}-01`;
}

/**
 * Puts the context of the request's span, which the runtime has made as a child of the caller's `traceparent`, in the
 * place of the caller's, so that events come below the request, and names the span by its route
 * (https://opentelemetry.io/docs/specs/semconv/http/http-spans/). Behind `correlation`.
 */
export const traceRequests: Middleware = async (c, next) => {
  const span = trace.getActiveSpan();
  if (!span) return await next();
  c.set("span", span);
  c.set("traceparent", traceparentOf(span));
  span.setAttribute("orderflow.correlation.id", c.get("correlationId"));
  await next();
  const route = matchedRoutes(c).findLast(({ path }) => !path.endsWith("*"))?.path; // middlewares have one of those
  if (route === undefined) return;
  span.setAttribute("http.route", route);
  span.updateName(`${c.req.method} ${route}`);
};
