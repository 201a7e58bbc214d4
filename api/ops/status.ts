// How everything stands: `/ops/status` in one answer, `/ops/messages` by message, `/ops/orders/:id/why` for one order.

import { z } from "zod";
import { EVENT_TYPES } from "../../shared/events.ts";
import { MESSAGE_STATES, messagesPageSchema, whySchema } from "../../shared/ops/answers.ts";
import { listArmedFaults } from "../../shared/ops/faults.ts";
import { listHolds } from "../../shared/ops/holds.ts";
import {
  countMessages,
  countRecentOrders,
  idRange,
  listMessages,
  type MessageFilter,
} from "../../shared/ops/lists.ts";
import { type StatusFigures, type SystemStatus, systemStatusSchema } from "../../shared/ops/live.ts";
import { listReplays } from "../../shared/ops/replays.ts";
import { readOpenCopies, type Why, whyOf } from "../../shared/ops/why.ts";
import { kindOfError } from "../../shared/process/errors.ts";
import { VERSION } from "../../shared/process/metrics.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import { findOrder } from "../../shared/sql/orders.ts";
import type { AppDeps } from "../deps.ts";
import { readReadiness } from "../health.ts";
import { type App, consumerSchema, found, pageQuery } from "../http.ts";
import { json, type Route, route, routes } from "../openapi/route.ts";

/** Orders whose statuses are counted. */
const STATUS_ORDERS = 1000;
/** Replays under way that are listed. */
const STATUS_REPLAYS = 100;
/** How long the figures may take, in milliseconds: the pool they are read over may be busy with an audit or a page. */
const FIGURES_MS = 3000;

/** Tells the state of the system. That works while the database is away too: then there are no figures. */
export function statusRoutes(deps: AppDeps): App {
  return routes(
    "Inspection",
    route("GET /", "readStatus", "The whole system's state at once", {
      description: "Answers while the database is away too, without figures.",
      answers: [json(200, "The state of the system.", systemStatusSchema)],
      handle: async (): Promise<SystemStatus> => {
        const readiness = await readReadiness(deps);
        const figures = readiness.database === "up"
          ? await withTimeout(FIGURES_MS, readFigures(deps).catch(nullWhileAway))
          : null;
        return { at: new Date().toISOString(), version: VERSION, ...readiness, figures };
      },
    }),
  );
}

/** The database may go away, or be too slow, between its two answers. */
function nullWhileAway(error: unknown): null {
  if (kindOfError(error) === "permanent") throw error;
  return null;
}

async function readFigures({ opsSql, live, faults }: AppDeps): Promise<StatusFigures> {
  const questions = [
    live.read(),
    countRecentOrders(opsSql, STATUS_ORDERS),
    listReplays(opsSql, { limit: STATUS_REPLAYS, state: "RUNNING" }),
    faults ? listArmedFaults(opsSql) : null,
  ] as const;
  await Promise.allSettled(questions); // none is left behind when another one fails
  const [{ at: _, orders: __, ...figures }, statuses, replays, armed] = await Promise.all(questions);
  return {
    ...figures,
    orders: Object.fromEntries([...statuses].filter(([, count]) => count > 0)),
    replays: replays.map(({ id, total, sent, lastError }) => ({ id, total, sent, lastError })),
    faults: armed?.map(({ point, consumer, times }) => ({ point, consumer, times })) ?? null,
  };
}

/** A message is told from others by an id and its consumer; a look that found less goes on with an id alone. */
const cursorSchema = z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}~[\w.:-]{0,200}$/, {
  error: "must be the nextCursor of an earlier answer",
});

const querySchema = z.object({
  limit: pageQuery.limit,
  cursor: cursorSchema.optional().meta({ description: "The `nextCursor` of the page before." }),
  state: z.enum(MESSAGE_STATES, { error: `must be one of ${MESSAGE_STATES.join(", ")}` }).optional()
    .meta({ description: "Only messages in this state.", example: "queued" }),
  consumer: consumerSchema.optional()
    .meta({ description: "Only messages to this consumer.", example: "payments.order-created.v1" }),
  type: z.enum(EVENT_TYPES, { error: `must be one of ${EVENT_TYPES.join(", ")}` }).optional()
    .meta({ description: "Only messages with an event of this type.", example: "order.created" }),
  search: z.string().trim().max(128, { error: "must have at most 128 characters" })
    .regex(/^\P{Cc}*$/u, { error: "must not contain control characters" }).optional()
    .meta({
      description: "The id of an event, an order or a dead letter, its beginning, or a whole correlation id.",
      example: "01a20441",
    }),
});

/** Lists messages; a search that finds no id is one for a correlation id. */
export function messagesRoute({ opsSql, bindings }: Pick<AppDeps, "opsSql" | "bindings">): Route {
  async function look(query: z.infer<typeof querySchema>, filter: MessageFilter) {
    const [key = "", consumer = ""] = query.cursor?.split("~") ?? [];
    const before = query.cursor ? { key, consumer } : undefined;
    const { messages, nextBefore } = await listMessages(opsSql, filter, { ...query, before });
    return {
      messages: messages.map(({ key: _, ...message }) => message),
      counts: query.cursor ? null : await countMessages(opsSql, filter),
      nextCursor: nextBefore && `${nextBefore.key}~${nextBefore.consumer}`,
    };
  }
  return route("GET /messages", "listMessages", "Messages and where they are, newest first", {
    description:
      "A message is one event on its way to one consumer, or a dead letter. One request looks at 10,000 events at " +
      "most. `nextCursor` goes on from there, even from a page that is not full. Dead letters that are no event of the " +
      "outbox are among the dead alone.",
    query: querySchema,
    answers: [json(200, "A page of messages.", messagesPageSchema)],
    handle: async (request) => {
      const query = request.query();
      const { consumer, type, search } = query;
      const filter = { bindings, consumer, type };
      const ids = search ? idRange(search) : null;
      const found = ids ? await look(query, { ...filter, ids }) : null;
      const isFound = found && (found.messages.length > 0 || found.nextCursor || sum(found.counts) > 0);
      if (found && isFound) return found;
      return await look(query, { ...filter, correlationId: search || undefined });
    },
  });
}

const sum = (counts: Readonly<Record<string, number>> | null) =>
  Object.values(counts ?? {}).reduce((total, count) => total + count, 0);

/** Says why an order is not done; a 404 where there is no such order. */
export function whyRoute(
  { opsSql, live, bindings, maxRetries }: Pick<AppDeps, "opsSql" | "live" | "bindings" | "maxRetries">,
): Route {
  return route("GET /orders/:id/why", "readWhy", "Why an order is not done", {
    id: "order",
    description:
      "What it waits for, since when, and the one action that helps. What the broker and the processes tell is a " +
      "second old at most.",
    answers: [json(200, "The cause, and a sentence for people.", whySchema)],
    handle: async ({ id }): Promise<Why> => {
      const copies = await readOpenCopies(opsSql, id, bindings); // first: what is open cannot be behind the order
      const order = found(await findOrder(opsSql, id), `There is no order ${id}.`);
      const holds = await listHolds(opsSql);
      return whyOf(order, copies, { live: await live.read(), bindings, maxRetries, holds });
    },
  });
}
