// What requests carry in their headers: the correlation id, the trace context, the `Idempotency-Key`; and what answers
// carry so that browsers and caches do no more with them than they are meant for.

import { trace } from "@opentelemetry/api";
import { matchedRoutes } from "hono/route";
import { secureHeaders } from "hono/secure-headers";
import type { Cause } from "../shared/broker/message.ts";
import { correlationIdSchema } from "../shared/events.ts";
import {
  formatTraceparent,
  parseTraceparent,
  traceparentOf,
  tracestateOf,
} from "../shared/process/tracing.ts";
import { HttpProblem, type Middleware, type RequestContext } from "./http.ts";
import { type About, type Answer, described, type Parameter } from "./openapi/route.ts";

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
  return { // one by one: `c.var` makes an object of all variables, 4 µs of a request
    correlationId: c.get("correlationId"),
    traceparent: c.get("traceparent"),
    tracestate: c.get("tracestate"),
  };
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

/** Carries the key (https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/). */
export const IDEMPOTENCY_KEY: Parameter = {
  name: "idempotency-key",
  in: "header",
  description:
    "Makes the request one that may be repeated, even while the first is under way: the same key and body give " +
    "the first answer again. " +
    "1 to 255 visible ASCII characters, bare or as a quoted string; a new uuid for each new request.",
  schema: { type: "string", minLength: 1 },
  example: "8e03978e-40d5-43e8-bc93-6894a57f9324",
};

/** The answer's header that says, with `true`, that the answer is an earlier request's. */
export const REPLAYED: Answer["headers"] = {
  "idempotency-replayed": {
    description: "`true` where this is the answer that an earlier request with the key was given.",
    schema: { const: "true" },
  },
};

/** A String of structured fields (RFC 9651, section 3.3.3): in quotes, with `\"` and `\\`. */
const QUOTED = /^"((?:[^"\\]|\\["\\])*)"$/;
const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * The request's key, or undefined where there is no header. The draft wants a quoted string, many clients send the bare
 * key: both are taken, and mean the same. Throws a 400 for a value that is no key.
 */
export function idempotencyKeyOf(c: RequestContext): string | undefined {
  const header = c.req.header(IDEMPOTENCY_KEY.name);
  if (header === undefined) return undefined;
  const key = header.startsWith('"') ? QUOTED.exec(header)?.[1]?.replaceAll(/\\(["\\])/g, "$1") : header;
  if (key !== undefined && KEY.test(key)) return key;
  throw new HttpProblem(
    400,
    `The header ${IDEMPOTENCY_KEY.name} must be 1 to 255 visible ASCII characters, bare or as a quoted string. ` +
      "Send a new uuid for each new request.",
  );
}

/** For what is no page: shown as one all the same, it loads nothing, runs nothing, and is framed by nobody. */
const NOTHING = "default-src 'none'; frame-ancestors 'none'";

/** What an answer has unless its route says otherwise: the page has a policy of its own, its files may be cached. */
export const answerDefaults: Middleware = async (c, next) => {
  c.header("content-security-policy", NOTHING);
  c.header("cache-control", "no-store");
  await next();
};

/**
 * What every answer has (https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html). No header lets
 * another origin read one (CORS): none is set on purpose.
 */
export const securityHeaders: Middleware = secureHeaders({
  strictTransportSecurity: false, // TLS, where there is any, ends before this process
  referrerPolicy: "same-origin", // with less, a browser hides from us too which page a form was on
  xFrameOptions: "DENY",
  // For browsers and plug-ins that are no more, or without effect beside the policy. Each header costs a request 1 µs.
  originAgentCluster: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xPermittedCrossDomainPolicies: false,
  xXssProtection: false,
  removePoweredBy: false, // nothing sets it
});
