/**
 * What the routes under `/ops/replays` take and answer.
 *
 * @module
 */
import { z } from "zod";
import {
  preparedReplaySchema,
  replayEventsPageSchema,
  replaySchema,
  replaysPageSchema,
} from "../../shared/ops/answers.ts";
import {
  DEFAULT_REPLAY_RATE,
  MAX_REPLAY_MESSAGES,
  replayFilterSchema,
  replayRateSchema,
} from "../../shared/ops/replays.ts";
import { BODY_REFUSALS, json, jsonBody, LOCATION, pathId, problems, queryOf } from "../openapi/describe.ts";
import type { Description } from "../openapi/description.ts";
import { EXAMPLE_IDS } from "../openapi/examples.ts";
import { pageQuery, pageSchema } from "../paging.ts";

/** The query of `GET /ops/replays/:id/events`; the cursor is the place of the last message seen. */
export const eventsSchema = z.object({
  limit: pageQuery.limit,
  cursor: z.coerce.number({ error: "must be the nextCursor of an earlier answer" }).int().min(0).max(
    MAX_REPLAY_MESSAGES,
  ).default(0).meta({ description: "The `nextCursor` of the page before." }),
});

/** The body of `POST /ops/replays/:id/start`. */
export const startSchema = z.strictObject({
  ratePerSecond: replayRateSchema.default(DEFAULT_REPLAY_RATE).meta({
    description: "Messages per second at most.",
  }),
});

const NO_REPLAY = { 400: "The path has no id.", 404: "There is no such replay; it may have been pruned." };
const TOO_OLD = "Too old: the inbox remembers events for `RETENTION_DAYS`, and no longer.";
const theReplay = () => pathId("The replay's id.", EXAMPLE_IDS.replay);

/** `POST /ops/replays`. */
export const prepare = (): Description => ({
  operationId: "prepareReplay",
  tags: ["Replays"],
  summary: "Write down what a replay would send",
  description:
    "Sends nothing. What is started later is this very set: one message for each published event that " +
    "matches, and each consumer that is to get it.",
  requestBody: jsonBody(replayFilterSchema, {
    type: { summary: "All events of a type", value: { type: "order.created" } },
    order: {
      summary: "What one consumer is to get of one order",
      value: { orderId: EXAMPLE_IDS.order, consumer: "payments.order-created.v1" },
    },
    nothing: { summary: "No filter at all: 400", value: {}, "x-status": 400 },
  }),
  responses: {
    201: json("The replay, and the first of its messages.", preparedReplaySchema, LOCATION),
    ...problems({ ...BODY_REFUSALS, 422: `${TOO_OLD} Or more messages than one replay has.` }),
  },
});

/** `GET /ops/replays`. */
export const listReplays = (): Description => ({
  operationId: "listReplays",
  tags: ["Replays"],
  summary: "Replays, newest first",
  parameters: queryOf(pageSchema),
  responses: {
    200: json("A page of replays.", replaysPageSchema),
    ...problems({ 400: "The query is not valid." }),
  },
});

/** `GET /ops/replays/:id`. */
export const readReplay = (): Description => ({
  operationId: "readReplay",
  tags: ["Replays"],
  summary: "How far a replay is",
  parameters: theReplay(),
  responses: { 200: json("The replay.", replaySchema), ...problems(NO_REPLAY) },
});

/** `GET /ops/replays/:id/events`. */
export const listReplayEvents = (): Description => ({
  operationId: "listReplayEvents",
  tags: ["Replays"],
  summary: "A replay's messages, in the order of sending",
  parameters: [...theReplay(), ...queryOf(eventsSchema)],
  responses: {
    200: json("A page of the messages.", replayEventsPageSchema),
    ...problems({ ...NO_REPLAY, 400: "The path has no id, or the query is not valid." }),
  },
});

/** `POST /ops/replays/:id/start`. */
export const start = (): Description => ({
  operationId: "startReplay",
  tags: ["Replays"],
  summary: "Send what was prepared",
  parameters: theReplay(),
  requestBody: jsonBody(startSchema, {
    rate: { summary: "50 messages per second", value: { ratePerSecond: 50 } },
  }, false),
  responses: {
    202: json("The replay, running; the relay sends.", replaySchema),
    ...problems({
      ...NO_REPLAY,
      ...BODY_REFUSALS,
      400: "The path has no id, or the body is not valid.",
      409: "The replay is not `PREPARED`.",
      422: TOO_OLD,
    }),
  },
});

/** `POST /ops/replays/:id/cancel`. */
export const cancel = (): Description => ({
  operationId: "cancelReplay",
  tags: ["Replays"],
  summary: "End a replay",
  parameters: theReplay(),
  responses: {
    200: json("The replay, cancelled.", replaySchema),
    ...problems({ ...NO_REPLAY, 409: "The replay has ended." }),
  },
});
