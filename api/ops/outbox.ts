/**
 * The routes under `/ops/outbox`.
 *
 * @module
 */
import { Hono } from "hono";
import type { Sql } from "../../shared/sql/connect.ts";
import {
  countUnpublished,
  findEvent,
  listEvents,
  listProcessed,
  type OutboxEventRow,
  republishEvent,
} from "../../shared/ops/lists.ts";
import { tickRelay } from "../../shared/sql/outbox.ts";
import type { App, CorrelationEnv } from "../correlation.ts";
import { describeRoutes } from "../openapi/describe.ts";
import { HttpProblem, parseOr400 } from "../http.ts";
import * as contract from "./outbox_contract.ts";
import { nextCursor } from "../paging.ts";
import { parseId } from "../path_id.ts";

/** How long a tick waits for the relay, in milliseconds. */
const TICK_WAIT_MS = 2000;
const TICK_LOOK_MS = 10;

/** Shows the outbox, and has events published. `sql` is of the role that may ask for that, and no more. */
export function outboxRoutes(sql: Sql): App {
  const app = new Hono<CorrelationEnv>();

  app.get("/", async (c) => {
    const { limit, cursor, ...filter } = parseOr400(contract.listSchema, c.req.query(), "query");
    const events = await listEvents(sql, { limit, before: cursor, ...filter });
    return c.json({ events, nextCursor: nextCursor(events, limit) });
  });

  app.post("/tick", async (c) => {
    const before = await countUnpublished(sql);
    await tickRelay(sql);
    const after = await settled(sql, before.count);
    return c.json({ unpublishedBefore: before.count, unpublishedAfter: after });
  });

  app.get("/:id", async (c) => c.json(eventOr404(await findEvent(sql, parseId(c.req.param("id"))))));

  app.post("/:id/republish", async (c) => {
    const id = parseId(c.req.param("id"));
    const event = eventOr404(await republishEvent(sql, id));
    await tickRelay(sql);
    // Those who have processed it will absorb the repeat; whoever expects an effect should know.
    const processed = await listProcessed(sql, { limit: 100, eventId: id });
    return c.json({ ...event, alreadyProcessedBy: processed.map(({ consumer }) => consumer) }, 202);
  });

  return describeRoutes(app, {
    "GET /": contract.listEvents,
    "POST /tick": contract.tick,
    "GET /:id": contract.readEvent,
    "POST /:id/republish": contract.republish,
  });
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
