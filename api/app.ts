/**
 * The HTTP application.
 *
 * @module
 */
import { Hono } from "hono";
import { METHODS } from "hono/router";
import { kindOfError, messageOf } from "../shared/process/errors.ts";
import type { Logger } from "../shared/process/log.ts";
import { traceIdOf } from "../shared/process/tracing.ts";
import { type App, correlation, type CorrelationEnv, describeCorrelation } from "./correlation.ts";
import { answer, described, describeRoutes, mediaType, problems } from "./openapi/describe.ts";
import type { Description } from "./openapi/description.ts";
import { docsRoutes } from "./page/docs.ts";
import { type HealthDeps, healthRoutes } from "./health.ts";
import { HttpProblem, problemResponse } from "./http.ts";
import { createMetrics, type MetricsDeps } from "./metrics.ts";
import { type LiveDeps, liveRoutes } from "./ops/live.ts";
import { openApiRoutes } from "./openapi/document.ts";
import { describeOpsAccess, type OpsAccess, opsAccess } from "./ops/access.ts";
import { type OpsDeps, opsRoutes } from "./ops/ops.ts";
import { type OrdersDeps, ordersRoutes } from "./orders.ts";
import { answerDefaults, securityHeaders } from "./security_headers.ts";
import { type StatusDeps, statusRoutes } from "./ops/status.ts";
import { traceRequests } from "./trace_requests.ts";
import { type UiDeps, uiRoutes } from "./page/page.ts";

export interface AppDeps extends OrdersDeps, OpsDeps, HealthDeps, MetricsDeps, LiveDeps, StatusDeps {
  readonly bundle: UiDeps["bundle"];
  readonly access: OpsAccess;
  /** Whether the runtime makes a span of each request; false by default. */
  readonly isTraced?: boolean;
  readonly log: Logger;
}

/** Makes the application. It opens nothing and listens nowhere: `app.request()` is enough to try it. */
export function createApp(deps: AppDeps): App {
  const { log } = deps;
  const metrics = createMetrics(deps);
  const access = described(describeOpsAccess, opsAccess(deps.access));
  const app = new Hono<CorrelationEnv>();
  app.use(metrics.timeRequests);
  app.use(answerDefaults); // these two ahead of whatever refuses: a refusal has their headers as well
  app.use(securityHeaders);
  app.use(described(describeCorrelation, correlation));
  if (deps.isTraced) app.use(traceRequests);
  app.use("/ops/*", access);
  app.route("/", healthRoutes(deps));
  app.route("/", openApiRoutes(app));
  app.route("/docs", docsRoutes(deps.bundle));
  app.route("/", uiRoutes(deps));
  app.route("/ops/live", liveRoutes(deps)); // stays open, and is silent, while the database is away
  app.route("/ops/status", statusRoutes(deps)); // says so itself
  app.get( // says that the database is away, while it is
    "/metrics",
    access,
    async (c) => c.text(await metrics.render(), 200, { "content-type": metrics.contentType }),
  );
  describeRoutes(app, { "GET /metrics": describeMetrics });
  app.use(
    described(
      () => ({ responses: problems({ 503: "The database cannot be reached." }) }),
      async (_, next) => {
        if (!deps.isSchemaReady()) throw databaseAway();
        await next();
      },
    ),
  );
  app.route("/orders", ordersRoutes(deps));
  app.route("/ops", opsRoutes(deps));

  app.notFound((c) => {
    const allowed = METHODS.map((method) => method.toUpperCase()).filter((method) =>
      hasRoute(app, method, c.req.path)
    );
    if (allowed.length === 0) {
      return problemResponse(c, new HttpProblem(404, `There is nothing at ${c.req.path}.`));
    }
    const detail = `${c.req.path} takes ${allowed.join(", ")}, not ${c.req.method}.`;
    return problemResponse(c, new HttpProblem(405, detail, { headers: { allow: allowed.join(", ") } }));
  });

  app.onError((error, c) => {
    if (error instanceof HttpProblem) return problemResponse(c, error);
    const about = {
      method: c.req.method,
      path: c.req.path,
      correlationId: c.get("correlationId"),
      traceId: traceIdOf(c.get("traceparent")),
    };
    if (kindOfError(error) !== "permanent") {
      log.warning("The database could not serve a request", { ...about, error: messageOf(error) });
      return problemResponse(c, databaseAway());
    }
    log.error("A request failed", { ...about, error });
    return problemResponse(
      c,
      new HttpProblem(500, "Something went wrong; the log has it under the correlation id."),
    );
  });

  return app;
}

function describeMetrics(): Description {
  return {
    operationId: "readMetrics",
    tags: ["Health"],
    summary: "Figures for Prometheus",
    responses: { 200: answer("Requests, outbox, queues, dead letters.", mediaType("text/plain")) },
  };
}

function databaseAway(): HttpProblem {
  const detail =
    "The database cannot be used at the moment. Try again; unless there is an Idempotency-Key, look " +
    "first whether what was sent was stored.";
  return new HttpProblem(503, detail, { headers: { "retry-after": "1" } });
}

/** Whether a handler, not just a middleware, is registered for the method and path. */
function hasRoute(app: App, method: string, path: string): boolean {
  return app.router.match(method, path)[0].some(([[, route]]) => route.method === method);
}
