/**
 * The routes under `/ops`: look at everything, change nothing but what is asked for.
 *
 * @module
 */
import { Hono } from "hono";
import type { Sql } from "../../shared/sql/connect.ts";
import { listDeadLetters } from "../../shared/ops/dead_letters.ts";
import { listOrders } from "../../shared/sql/orders.ts";
import { countUnpublished, listEvents, listProcessed } from "../../shared/ops/lists.ts";
import { type AuditDeps, auditRoutes } from "./audit.ts";
import type { App, CorrelationEnv } from "../correlation.ts";
import { type DeadLetterDeps, deadLetterRoutes } from "./dead_letters.ts";
import { describeRoutes } from "../openapi/describe.ts";
import { faultRoutes } from "./faults.ts";
import { parseOr400 } from "../http.ts";
import * as contract from "./ops_contract.ts";
import type { ReadTimelines } from "../../shared/ops/timeline.ts";
import { findOrders, orderQuerySchema } from "./order_search.ts";
import { opsOrderStory } from "../orders.ts";
import { outboxRoutes } from "./outbox.ts";
import { type ReplayDeps, replayRoutes } from "./replays.ts";
import { type ScenarioDeps, scenarioRoutes } from "./scenarios.ts";

export interface OpsDeps extends DeadLetterDeps, AuditDeps, ReplayDeps, ScenarioDeps {
  /** Reads every table, and has outbox events published again; the role `orderflow_ops` may do that. */
  readonly opsSql: Sql;
  readonly readTimelines: ReadTimelines;
}

/** How much of everything the debug view shows. */
const DEBUG_ROWS = 10;

/** The ops routes. */
export function opsRoutes(deps: OpsDeps): App {
  const { opsSql, readTimelines, publisher, audit } = deps;
  const app = new Hono<CorrelationEnv>();
  app.route("/scenarios", scenarioRoutes(deps));
  if (deps.faults) app.route("/faults", faultRoutes(opsSql, deps.faults));
  app.route("/outbox", outboxRoutes(opsSql));
  app.route("/audit", auditRoutes({ audit }));
  app.route("/dead-letters", deadLetterRoutes({ opsSql, publisher }));
  app.route("/replays", replayRoutes(deps));

  app.get("/debug", async (c) => {
    const [orders, outbox, unpublished, processed, deadLetters] = await Promise.all([
      listOrders(opsSql, { limit: DEBUG_ROWS }),
      listEvents(opsSql, { limit: DEBUG_ROWS }),
      countUnpublished(opsSql),
      listProcessed(opsSql, { limit: DEBUG_ROWS }),
      listDeadLetters(opsSql, { limit: DEBUG_ROWS }),
    ]);
    const timelines = await readTimelines(orders);
    return c.json({
      orders: orders.map((order) => ({ ...order, timeline: timelines.get(order.id) ?? [] })),
      outbox: { unpublished: unpublished.count, oldestUnpublishedAt: unpublished.oldestAt, events: outbox },
      processedEvents: processed,
      deadLetters,
    });
  });

  app.get("/orders", async (c) => {
    return c.json(await findOrders(opsSql, parseOr400(orderQuerySchema, c.req.query(), "query")));
  });

  app.get(
    "/orders/:id/timeline",
    async (c) => c.json(await opsOrderStory(opsSql, readTimelines, c.req.param("id"))),
  );

  app.get("/processed-events", async (c) => {
    const { cursor, ...query } = parseOr400(contract.processedSchema, c.req.query(), "query");
    const [eventId = "", consumer = ""] = cursor?.split("~") ?? [];
    const before = cursor ? { eventId, consumer } : undefined;
    const rows = await listProcessed(opsSql, { ...query, before });
    const last = rows.length === query.limit ? rows.at(-1) : undefined;
    return c.json({ processedEvents: rows, nextCursor: last ? `${last.eventId}~${last.consumer}` : null });
  });

  return describeRoutes(app, {
    "GET /debug": contract.readDebug,
    "GET /orders": contract.findOrders,
    "GET /orders/:id/timeline": contract.readOpsTimeline,
    "GET /processed-events": contract.listProcessedEvents,
  });
}
