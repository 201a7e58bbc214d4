/**
 * What the routes under `/ops/dead-letters` take and answer.
 *
 * @module
 */
import { z } from "zod";
import {
  deadLetterSchema,
  deadLettersPageSchema,
  discardedSchema,
  redrivenSchema,
} from "../../shared/ops/answers.ts";
import { idSchema } from "../../shared/events.ts";
import { instantSchema } from "../../shared/ops/replays.ts";
import { LETTER_STATES } from "../../shared/ops/dead_letters.ts";
import { BODY_REFUSALS, json, jsonBody, pathId, problems, queryOf } from "../openapi/describe.ts";
import type { Description } from "../openapi/description.ts";
import { EXAMPLE_IDS } from "../openapi/examples.ts";
import { consumerSchema, pageQuery } from "../paging.ts";

/** Ids in one request at most: as many as a page of the list has. */
const MAX_LETTER_IDS = 100;

/** Postgres' text cannot hold a NUL. */
const text = z.string({ error: "must be a text" }).regex(/^[^\0]*$/, { error: "must not contain a NUL" });

const instant = instantSchema.transform((text) => new Date(text)).optional();

const selectionFields = {
  consumer: consumerSchema.optional().meta({
    description: "Only letters of this consumer.",
    example: "payments.order-created.v1",
  }),
  reason: text.min(1).max(200).optional().meta({
    description: "Only letters with this reason.",
    example: "retries exhausted",
  }),
  type: text.min(1).max(100).optional().meta({
    description: "Only letters with an event of this type.",
    example: "order.created",
  }),
  orderId: idSchema.optional().meta({
    description: "Only letters about this order.",
    example: EXAMPLE_IDS.order,
  }),
  from: instant.meta({ description: "Only letters that were last given up on at this time or later." }),
  to: instant.meta({ description: "Only letters that were last given up on before this time." }),
};

/** The query of `GET /ops/dead-letters`. */
export const listSchema = z.object({
  ...pageQuery,
  ...selectionFields,
  state: z.enum(LETTER_STATES, { error: `must be one of ${LETTER_STATES.join(", ")}` }).optional()
    .meta({ description: "Only letters in this state.", example: "OPEN" }),
});

const selection = z.strictObject({
  ...selectionFields,
  ids: z.array(idSchema).min(1).max(MAX_LETTER_IDS, { error: `must be at most ${MAX_LETTER_IDS} ids` })
    .optional()
    .meta({ description: "Only letters with one of these ids.", example: [EXAMPLE_IDS.deadLetter] }),
});
const because = text.trim().min(1).max(500).meta({ description: "Why: kept with the letter." });

/** The body of `POST /ops/dead-letters/redrive`. */
export const selectionSchema = selection;
/** The body of `POST /ops/dead-letters/discard`. */
export const discardSchema = selection.extend({ because });
/** The body of `POST /ops/dead-letters/:id/discard`. */
export const discardOneSchema = z.strictObject({ because });

const NO_LETTER = { 400: "The path has no id.", 404: "There is no such letter." };
const CLOSED = { ...NO_LETTER, 409: "The letter is closed." };
const BROKER_AWAY = { 503: "Database or broker cannot be reached; every letter stays open." };
const theLetter = () => pathId("The letter's id.", EXAMPLE_IDS.deadLetter);

/** `GET /ops/dead-letters`. */
export const listLetters = (): Description => ({
  operationId: "listDeadLetters",
  tags: ["Dead letters"],
  summary: "Dead letters, newest first",
  parameters: queryOf(listSchema),
  responses: {
    200: json("A page of dead letters.", deadLettersPageSchema),
    ...problems({ 400: "The query is not valid." }),
  },
});

/** `POST /ops/dead-letters/redrive`. */
export const redriveAll = (): Description => ({
  operationId: "redriveDeadLetters",
  tags: ["Dead letters"],
  summary: "Send all open letters that match to their consumers again",
  description: "At most 1,000 at a time. Nobody else gets them.",
  requestBody: jsonBody(selectionSchema, {
    consumer: { summary: "All of one consumer", value: { consumer: "payments.order-created.v1" } },
    unknown: {
      summary: "A field that there is not: 400, rather than everything",
      value: { consumers: [] },
      "x-status": 400,
    },
  }),
  responses: {
    200: json("What became of them.", redrivenSchema),
    ...problems({ ...BODY_REFUSALS, ...BROKER_AWAY }),
  },
});

/** `POST /ops/dead-letters/discard`. */
export const discardAll = (): Description => ({
  operationId: "discardDeadLetters",
  tags: ["Dead letters"],
  summary: "Discard all open letters that match",
  description: "At most 1,000 at a time.",
  requestBody: jsonBody(discardSchema, {
    reason: {
      summary: "All with one reason",
      value: { reason: "retries exhausted", because: "a test of ours" },
    },
  }),
  responses: { 200: json("How many were closed.", discardedSchema), ...problems(BODY_REFUSALS) },
});

/** `GET /ops/dead-letters/:id`. */
export const readLetter = (): Description => ({
  operationId: "readDeadLetter",
  tags: ["Dead letters"],
  summary: "One dead letter",
  parameters: theLetter(),
  responses: { 200: json("The letter.", deadLetterSchema), ...problems(NO_LETTER) },
});

/** `POST /ops/dead-letters/:id/redrive`. */
export const redriveOne = (): Description => ({
  operationId: "redriveDeadLetter",
  tags: ["Dead letters"],
  summary: "Send a letter to its consumer again",
  parameters: theLetter(),
  responses: {
    200: json("What became of it.", redrivenSchema),
    ...problems({ ...CLOSED, ...BROKER_AWAY }),
  },
});

/** `POST /ops/dead-letters/:id/discard`. */
export const discardOne = (): Description => ({
  operationId: "discardDeadLetter",
  tags: ["Dead letters"],
  summary: "Discard a letter",
  parameters: theLetter(),
  requestBody: jsonBody(discardOneSchema, {
    because: { summary: "With the reason", value: { because: "a test of ours" } },
  }),
  responses: {
    200: json("1, as it was closed.", discardedSchema),
    ...problems({ ...CLOSED, ...BODY_REFUSALS, 400: "The path has no id, or the body is not valid." }),
  },
});
