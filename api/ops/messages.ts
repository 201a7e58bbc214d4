/**
 * `GET /ops/messages`: where each message is, over outbox, queues, retries, dead letters and inbox.
 *
 * @module
 */
import { z } from "zod";
import { EVENT_TYPES } from "../../shared/events.ts";
import { MESSAGE_STATES, messagesPageSchema } from "../../shared/ops/answers.ts";
import { countMessages, idRange, listMessages, type MessageFilter } from "../../shared/ops/lists.ts";
import type { AppDeps } from "../deps.ts";
import { consumerSchema, pageQuery } from "../http.ts";
import { json, type Route, route } from "../openapi/route.ts";

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
    handle: async ({ query }) => {
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
