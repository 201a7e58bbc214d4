// The routes under `/ops`, and those of them that look at everything: the debug view, orders, the inbox, the audit.

import { z } from "zod";
import * as mini from "zod/mini";
import { idSchema } from "../../shared/events.ts";
import {
  auditSchema,
  count,
  deadLetterSchema,
  inboxPageSchema,
  opsOrderSchema,
  ordersPageSchema,
  outboxEventSchema,
  processedEventSchema,
  timelineEntrySchema,
  timeOrNull,
  toldStorySchema,
} from "../../shared/ops/answers.ts";
import { type Audit, AUDIT_GRACE_SECONDS } from "../../shared/ops/audit.ts";
import { listDeadLetters } from "../../shared/ops/dead_letters.ts";
import {
  countUnpublished,
  idRange,
  listEvents,
  listProcessed,
  searchOrders,
} from "../../shared/ops/lists.ts";
import type { ReadTimelines } from "../../shared/ops/timeline.ts";
import { ORDER_STATUSES } from "../../shared/order_status.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { listOrders, type OrderRow } from "../../shared/sql/orders.ts";
import type { AppDeps } from "../deps.ts";
import { type App, consumerSchema, nextCursor, pageQuery, problemResponse, unavailable } from "../http.ts";
import { EXAMPLE_IDS, json, type Route, route, routes } from "../openapi/route.ts";
import { timelineRoute } from "../orders.ts";
import { deadLetterRoutes } from "./dead_letters.ts";
import { faultRoutes, faultsAreOff, holdRoutes } from "./interventions.ts";
import { createRecorder, operationsRoute } from "./operations.ts";
import { outboxRoutes } from "./outbox.ts";
import { replayRoutes } from "./replays.ts";
import { scenarioRoutes } from "./scenarios.ts";
import { messagesRoute, whyRoute } from "./status.ts";

/** How much of everything the debug view shows. */
const DEBUG_ROWS = 10;

/** The ops routes. */
export function opsRoutes(deps: AppDeps): App {
  const { opsSql, readTimelines } = deps;
  const withRecord = { ...deps, record: createRecorder(deps.access) };
  const app = routes(
    "Inspection",
    debugRoute(opsSql, readTimelines),
    route("GET /orders", "findOrders", "Orders by status and by id, newest first", {
      description:
        "One request looks at 10,000 orders at most. `nextCursor` goes on from there, even from a page that " +
        "is not full.",
      query: orderQuerySchema,
      answers: [json(200, "A page of orders.", ordersPageSchema)],
      handle: ({ query }) => findOrders(opsSql, query()),
    }),
    timelineRoute("GET /orders/:id/timeline", "readOpsTimeline", toldStorySchema, deps, (order) => order),
    whyRoute(deps),
    route(
      "GET /processed-events",
      "listProcessedEvents",
      "The inbox: which consumer has processed which event",
      {
        query: processedSchema,
        answers: [json(200, "A page of the inbox, newest events first.", inboxPageSchema)],
        handle: async ({ query }) => {
          const { cursor, ...filter } = query();
          const [eventId = "", consumer = ""] = cursor?.split("~") ?? [];
          const before = cursor ? { eventId, consumer } : undefined;
          const processedEvents = await listProcessed(opsSql, { ...filter, before });
          const cursorOf = (row: { eventId: string; consumer: string }) => `${row.eventId}~${row.consumer}`;
          return { processedEvents, nextCursor: nextCursor(processedEvents, filter.limit, cursorOf) };
        },
      },
    ),
    auditRoute(deps.audit),
    operationsRoute(opsSql),
    messagesRoute(deps),
  );
  app.route("/scenarios", scenarioRoutes(withRecord));
  if (deps.faults) app.route("/faults", faultRoutes(withRecord, deps.faults));
  else app.all("/faults", (c) => problemResponse(c, faultsAreOff(c)));
  app.route("/holds", holdRoutes(withRecord));
  app.route("/outbox", outboxRoutes(withRecord));
  app.route("/dead-letters", deadLetterRoutes(withRecord));
  app.route("/replays", replayRoutes(withRecord));
  return app;
}

const storySchema = mini.extend(opsOrderSchema, { timeline: mini.array(timelineEntrySchema) })
  .check(mini.meta({ ref: "OpsOrderStory" }));

const debugSchema = z.object({
  orders: z.array(storySchema),
  outbox: z.object({
    unpublished: count("Events that wait for the relay."),
    oldestUnpublishedAt: timeOrNull("When the oldest of them happened."),
    events: z.array(outboxEventSchema),
  }),
  processedEvents: z.array(processedEventSchema),
  deadLetters: z.array(deadLetterSchema),
});

function debugRoute(sql: Sql, readTimelines: ReadTimelines): Route {
  return route("GET /debug", "readDebug", "The last ten of everything", {
    answers: [
      json(200, "The newest orders with their stories, events, inbox rows and dead letters.", debugSchema),
    ],
    handle: async () => {
      const [orders, events, { count: unpublished, oldestAt }, processedEvents, deadLetters] = await Promise
        .all([
          listOrders(sql, { limit: DEBUG_ROWS }),
          listEvents(sql, { limit: DEBUG_ROWS }),
          countUnpublished(sql),
          listProcessed(sql, { limit: DEBUG_ROWS }),
          listDeadLetters(sql, { limit: DEBUG_ROWS }),
        ]);
      const timelines = await readTimelines(orders);
      return {
        orders: orders.map((order) => ({ ...order, timeline: timelines.get(order.id) ?? [] })),
        outbox: { unpublished, oldestUnpublishedAt: oldestAt, events },
        processedEvents,
        deadLetters,
      };
    },
  });
}

const orderQuerySchema = z.object({
  ...pageQuery,
  status: z.enum(ORDER_STATUSES, { error: `must be one of ${ORDER_STATUSES.join(", ")}` }).optional()
    .meta({ description: "Only orders of this status.", example: "PENDING" }),
  search: z.string().trim().max(128, { error: "must have at most 128 characters" })
    .regex(/^\P{Cc}*$/u, { error: "must not contain control characters" }).optional()
    .meta({ description: "An id, the beginning of one, or a whole correlation id.", example: "01a20441" }),
});

/**
 * Looks for orders, newest first: by id where `search` can be the beginning of one, and where that finds nothing, or
 * `search` is no such thing, by correlation id. One search looks at 10,000 orders at most: then there may be fewer than
 * asked for, or none, and `nextCursor` says where to go on; it is null where nothing is left to look at.
 */
export async function findOrders(
  sql: Sql,
  { limit, cursor: before, status, search }: z.infer<typeof orderQuerySchema>,
): Promise<{ readonly orders: readonly OrderRow[]; readonly nextCursor: string | null }> {
  const look = async (more: Partial<Parameters<typeof searchOrders>[1]>) => {
    const { orders, nextBefore } = await searchOrders(sql, { limit, before, status, ...more });
    return { orders, nextCursor: nextBefore };
  };
  if (!search) return await look({});
  const ids = idRange(search);
  const found = ids ? await look({ ids }) : null;
  if (found && (found.orders.length > 0 || found.nextCursor)) return found;
  return await look({ correlationId: search });
}

/** An event has a row for each of its consumers: the cursor is the event id and the consumer of the last row seen. */
const processedSchema = z.object({
  ...pageQuery,
  cursor: z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}~[\w.:-]{1,200}$/, {
    error: "must be the nextCursor of an earlier answer",
  }).optional().meta({ description: "The `nextCursor` of the page before." }),
  consumer: consumerSchema.optional()
    .meta({ description: "Only rows of this consumer.", example: "payments.order-created.v1" }),
  eventId: idSchema.optional().meta({ description: "Only rows of this event.", example: EXAMPLE_IDS.event }),
});

const auditQuerySchema = z.object({
  graceSeconds: z.coerce.number({ error: "must be a whole number from 0 to 86400" }).int().min(0).max(86_400)
    .default(AUDIT_GRACE_SECONDS)
    .meta({ description: "How long what follows from an event may take, in seconds.", example: 60 }),
});

/**
 * Audits on request, one audit at a time: each reads all that there is. Who asks the same question meanwhile gets the same
 * answer; for another grace there is a 503.
 */
function auditRoute(audit: AppDeps["audit"]): Route {
  let underWay: { readonly graceSeconds: number; readonly answer: Promise<Audit> } | null = null;
  return route("GET /audit", "readAudit", "What breaks the promises", {
    description: "Reads the whole database in one snapshot, so one audit runs at a time.",
    query: auditQuerySchema,
    answers: [json(200, "What each check has found.", auditSchema)],
    refusals: { 503: "An audit with another grace is under way, or the database cannot be reached." },
    handle: async ({ query }) => {
      const { graceSeconds } = query();
      if (underWay && underWay.graceSeconds !== graceSeconds) {
        throw unavailable("An audit is under way. Ask again when it has its answer.", 5);
      }
      underWay ??= { graceSeconds, answer: audit(graceSeconds).finally(() => underWay = null) };
      return await underWay.answer;
    },
  });
}
