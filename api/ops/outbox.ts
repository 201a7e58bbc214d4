// The routes under `/ops/outbox`.

import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { EVENT_TYPES, idSchema } from "../../shared/events.ts";
import { count, outboxEventSchema, outboxPageSchema, republishedSchema } from "../../shared/ops/answers.ts";
import {
  countUnpublished,
  findEvent,
  hurryEvent,
  listEvents,
  listProcessed,
} from "../../shared/ops/lists.ts";
import { republishEvent } from "../../shared/ops/replays.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import { tickRelay } from "../../shared/sql/outbox.ts";
import { type App, byId, found, nextCursor, pageQuery } from "../http.ts";
import { EXAMPLE_IDS, json, route, routes } from "../openapi/route.ts";
import type { OpsDeps } from "./operations.ts";

/** How long a tick waits for the relay, in milliseconds. */
const TICK_WAIT_MS = 2000;
const TICK_LOOK_MS = 10;

const listSchema = z.object({
  ...pageQuery,
  type: z.enum(EVENT_TYPES, { error: `must be one of ${EVENT_TYPES.join(", ")}` }).optional()
    .meta({ description: "Only events of this type.", example: "order.created" }),
  orderId: idSchema.optional()
    .meta({ description: "Only events about this order.", example: EXAMPLE_IDS.order }),
  published: z.enum(["true", "false"], { error: "must be true or false" }).transform((v) => v === "true")
    .optional()
    .meta({
      description: "Only events that the broker has confirmed, or only those that wait.",
      example: "true",
    }),
});

const tickedSchema = z.object({
  unpublishedBefore: count("Events that waited before."),
  unpublishedAfter: count("Events that wait now."),
});

const NO_EVENT = "There is no such event in the outbox. It may have been pruned.";

/** Shows the outbox, and has events published. `sql` is of the role that may ask for that, and no more. */
export function outboxRoutes({ opsSql: sql, bindings, record }: OpsDeps): App {
  return routes(
    "Outbox",
    route("GET /", "listEvents", "Events, newest first", {
      query: listSchema,
      answers: [json(200, "A page of the outbox.", outboxPageSchema)],
      handle: async ({ query }) => {
        const { cursor, ...filter } = query();
        const events = await listEvents(sql, { ...filter, before: cursor });
        return { events, nextCursor: nextCursor(events, filter.limit, byId) };
      },
    }),
    route("POST /tick", "tick", "Have the relay look now", {
      description: "Even a relay that is switched off publishes then. The answer waits for it, 2 s at most.",
      answers: [json(200, "What waited, and what still does.", tickedSchema)],
      handle: async ({ c }) => {
        const { count: unpublishedBefore } = await countUnpublished(sql);
        await record(sql, c, { action: "tick", subject: { unpublishedBefore } });
        await tickRelay(sql);
        return { unpublishedBefore, unpublishedAfter: await settled(sql, unpublishedBefore) };
      },
    }),
    route("GET /:id", "readEvent", "One event", {
      id: "event",
      answers: [json(200, "The event.", outboxEventSchema)],
      handle: async ({ id }) => found(await findEvent(sql, id), NO_EVENT),
    }),
    route("POST /:id/republish", "republish", "Publish an event once more", {
      description: "Consumers that have processed it absorb the repeat.",
      id: "event",
      answers: [json(202, "The event; the relay publishes it as soon as it can.", republishedSchema)],
      handle: async ({ c, id }) => {
        const event = found(await findEvent(sql, id), NO_EVENT);
        await transaction(sql, async (tx) => {
          if (event.publishedAt) await republishEvent(tx, id, bindings);
          else await hurryEvent(tx, id);
          await record(tx, c, { action: "republish", subject: { event: id } });
        });
        if (!event.publishedAt) await tickRelay(sql);
        // Those who have processed it will absorb the repeat; whoever expects an effect should know.
        const processed = await listProcessed(sql, { limit: 100, eventId: id });
        return { ...event, alreadyProcessedBy: processed.map(({ consumer }) => consumer) };
      },
    }),
  );
}

/** Waits, bounded, until the relay has had its pass; answers with what is still unpublished. */
async function settled(sql: Sql, before: number): Promise<number> {
  let count = before;
  for (const until = performance.now() + TICK_WAIT_MS; count > 0 && performance.now() < until;) {
    await delay(TICK_LOOK_MS);
    ({ count } = await countUnpublished(sql));
  }
  return count;
}
