// The HTTP application.

import { Hono } from "hono";
import { compress } from "hono/compress";
import { methodNotAllowed } from "hono/method-not-allowed";
import { kindOfError, messageOf } from "../shared/process/errors.ts";
import { traceIdOf } from "../shared/process/tracing.ts";
import type { AppDeps } from "./deps.ts";
import { answerDefaults, correlation, securityHeaders, traceRequests } from "./headers.ts";
import { createMetrics, healthRoutes } from "./health.ts";
import { type ApiEnv, type App, HttpProblem, nothingAt, problemResponse, unavailable } from "./http.ts";
import { openApiRoutes } from "./openapi/document.ts";
import { described } from "./openapi/route.ts";
import { opsAccess } from "./ops/access.ts";
import { liveRoutes } from "./ops/live.ts";
import { opsRoutes } from "./ops/ops.ts";
import { statusRoutes } from "./ops/status.ts";
import { ordersRoutes } from "./orders.ts";
import { docsRoutes } from "./page/files.ts";
import { pageRoutes } from "./page/page.ts";

/** What the page reads is long and text; orders and their answers are short, and are not to wait for a compressor. */
const READ_BY_PEOPLE = ["/", "/assets/*", "/docs/*", "/openapi.json", "/ops/*"];

/** Makes the application. It opens nothing and listens nowhere: `app.request()` is enough to try it. */
export function createApp(deps: AppDeps): App {
  const { log } = deps;
  const metrics = createMetrics(deps);
  const access = opsAccess(deps.access);
  const app = new Hono<ApiEnv>();
  app.use(metrics.timeRequests);
  app.use(answerDefaults); // these two ahead of whatever refuses: a refusal has their headers as well
  app.use(securityHeaders);
  for (const path of READ_BY_PEOPLE) app.use(path, compress());
  app.use(correlation);
  if (deps.isTraced) app.use(traceRequests);
  app.use(methodNotAllowed({
    app,
    onMethodNotAllowed: (c, methods) => {
      const allowed = methods.filter((method) => method !== "HEAD").toSorted().join(", ");
      const detail = `${c.req.path} takes ${allowed}, not ${c.req.method}.`;
      return problemResponse(c, new HttpProblem(405, detail, { headers: { allow: allowed } }));
    },
  }));
  app.use("/ops/*", access);
  app.route("/", healthRoutes(deps));
  app.route("/", openApiRoutes(app));
  app.route("/docs", docsRoutes(deps.bundle));
  app.route("/", pageRoutes(deps));
  app.route("/ops/live", liveRoutes(deps)); // stays open, and is silent, while the database is away
  app.route("/ops/status", statusRoutes(deps)); // says so itself
  app.get("/metrics", access);
  app.route("/", metrics.routes); // says that the database is away, while it is
  app.use(described({ refusals: { 503: "The database cannot be reached." } }, async (_, next) => {
    if (!deps.isSchemaReady()) throw databaseAway();
    await next();
  }));
  app.route("/orders", ordersRoutes(deps));
  app.route("/ops", opsRoutes(deps));

  app.notFound((c) => problemResponse(c, nothingAt(c)));

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

function databaseAway(): HttpProblem {
  return unavailable(
    "The database cannot be used at the moment. Try again; unless there is an Idempotency-Key, look " +
      "first whether what was sent was stored.",
  );
}
