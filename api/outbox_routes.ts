/**
 * The routes under `/ops/outbox`.
 *
 * @module
 */
import { Hono } from "hono";
import { z } from "zod";
import { EVENT_TYPES } from "../shared/events/catalog.ts";
import { idSchema } from "../shared/events/envelope.ts";
import type { Sql } from "../shared/sql/connect.ts";
import {
  countUnpublished,
  findEvent,
  listEvents,
  type OutboxEventRow,
  republishEvent,
} from "../shared/sql/outbox_events.ts";
import { listProcessed } from "../shared/sql/processed_events.ts";
import { tickRelay } from "../shared/sql/outbox_wakeup.ts";
import type { App, CorrelationEnv } from "./correlation.ts";
import { nextCursor, pageQuery } from "./paging.ts";
import { HttpProblem, parseOr400 } from "./http_errors.ts";

const listSchema = z.object({
  ...pageQuery,
  type: z.enum(EVENT_TYPES, { error: `must be one of ${EVENT_TYPES.join(", ")}` }).optional(),
  orderId: idSchema.optional(),
  published: z.enum(["true", "false"], { error: "must be true or false" }).transform((v) => v === "true")
    .optional(),
});

/** How long a tick waits for the relay, in milliseconds. */
const TICK_WAIT_MS = 2000;
const TICK_LOOK_MS = 10;

/** Shows the outbox, and has events published. `sql` is of the role that may ask for that, and no more. */
export function outboxRoutes(sql: Sql): App {
  const app = new Hono<CorrelationEnv>();

  app.get("/", async (c) => {
    const { limit, cursor, ...filter } = parseOr400(listSchema, c.req.query(), "query");
    const events = await listEvents(sql, { limit, before: cursor, ...filter });
    return c.json({ events, nextCursor: nextCursor(events, limit) });
  });

  app.post("/tick", async (c) => {
    const before = await countUnpublished(sql);
    await tickRelay(sql);
    const after = await settled(sql, before.count);
    return c.json({ unpublishedBefore: before.count, unpublishedAfter: after });
  });

  app.get("/:id", async (c) => c.json(eventOr404(await findEvent(sql, idOf(c.req.param("id"))))));

  app.post("/:id/republish", async (c) => {
    const id = idOf(c.req.param("id"));
    const event = eventOr404(await republishEvent(sql, id));
    await tickRelay(sql);
    // Those who have processed it will absorb the repeat; whoever expects an effect should know.
    const processed = await listProcessed(sql, { limit: 100, eventId: id });
    return c.json({ ...event, alreadyProcessedBy: processed.map(({ consumer }) => consumer) }, 202);
  });

  return app;
}

function idOf(id: string): string {
  return parseOr400(z.object({ id: idSchema }), { id }, "path").id;
}

function eventOr404(event: OutboxEventRow | undefined): OutboxEventRow {
  if (!event) throw new HttpProblem(404, "There is no such event in the outbox. It may have been pruned.");
  return event;
}

/** Waits, bounded, until the relay has had its pass; answers with what is still unpublished. */
async function settled(sql: Sql, before: number): Promise<number> {
  let count = before;
  for (const until = performance.now() + TICK_WAIT_MS; count > 0 && performance.now() < until;) {
    await new Promise((resolve) => setTimeout(resolve, TICK_LOOK_MS));
    ({ count } = await countUnpublished(sql));
  }
  return count;
}
