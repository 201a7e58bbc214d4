/**
 * What a request's span says, and what goes on from it. The runtime makes the span, as a child of the caller's
 * `traceparent`.
 *
 * @module
 */
import { trace } from "@opentelemetry/api";
import { createMiddleware } from "hono/factory";
import { matchedRoutes } from "hono/route";
import { traceparentOf } from "../shared/process/tracing.ts";
import type { CorrelationEnv, Middleware } from "./correlation.ts";

/**
 * Puts the span's context in the place of the caller's, so that events come below the request, and names the span by
 * its route (https://opentelemetry.io/docs/specs/semconv/http/http-spans/). Behind `correlation`.
 */
export const traceRequests: Middleware = createMiddleware<CorrelationEnv>(async (c, next) => {
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
});
