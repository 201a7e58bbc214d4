// The routes under `/ops/dead-letters`.

import { z } from "zod";
import type { Binding } from "../../shared/broker/connection.ts";
import { idSchema, parseEvent } from "../../shared/events.ts";
import {
  deadLetterSchema,
  deadLettersPageSchema,
  discardedSchema,
  letterGroupsSchema,
  preparedReplaySchema,
  redrivenSchema,
} from "../../shared/ops/answers.ts";
import {
  type DeadLetterRow,
  findDeadLetter,
  groupLetters,
  LETTER_STATES,
  type LetterSelection,
  listDeadLetters,
} from "../../shared/ops/dead_letters.ts";
import {
  discardSet,
  findReplay,
  instantSchema,
  prepareLetters,
  type ReplayRow,
} from "../../shared/ops/replays.ts";
import { type Edit, MAX_LETTERS, redriveLetters } from "../../shared/ops/send_again.ts";
import { type Queryable, type Sql, transaction } from "../../shared/sql/connect.ts";
import {
  type App,
  byId,
  consumerSchema,
  found,
  HttpProblem,
  invalid,
  nextCursor,
  pageQuery,
  type RequestContext,
  unavailable,
} from "../http.ts";
import { EXAMPLE_IDS, json, LOCATION, route, routes } from "../openapi/route.ts";
import type { OpsDeps } from "./operations.ts";
import { NO_SET, preparedSet, setOr404, setProblem } from "./replays.ts";

/** Ids in one request at most: as many as a page of the list has. */
const MAX_LETTER_IDS = 100;

/** Postgres' text cannot hold a NUL, nor its JSON half a character. */
const text = z.string({ error: "must be a text" })
  .regex(/^[^\0\p{Cs}]*$/u, { error: "must not contain a NUL or half a surrogate pair" });
const instant = instantSchema.transform((text) => new Date(text)).optional();

const selectionFields = {
  consumer: consumerSchema.optional()
    .meta({ description: "Only letters of this consumer.", example: "payments.order-created.v1" }),
  reason: text.min(1).max(200).optional()
    .meta({ description: "Only letters with this reason.", example: "retries exhausted" }),
  pattern: text.max(200).optional()
    .meta({ description: "Only letters with this pattern, as their group has it.", example: "…: timed out" }),
  type: text.min(1).max(100).optional()
    .meta({ description: "Only letters with an event of this type.", example: "order.created" }),
  orderId: idSchema.optional()
    .meta({ description: "Only letters about this order.", example: EXAMPLE_IDS.order }),
  from: instant.meta({ description: "Only letters that were last given up on at this time or later." }),
  to: instant.meta({ description: "Only letters that were last given up on before this time." }),
};

const listSchema = z.object({
  ...pageQuery,
  ...selectionFields,
  state: z.enum(LETTER_STATES, { error: `must be one of ${LETTER_STATES.join(", ")}` }).optional()
    .meta({ description: "Only letters in this state.", example: "OPEN" }),
});

const selectionSchema = z.strictObject({
  ...selectionFields,
  ids: z.array(idSchema).min(1).max(MAX_LETTER_IDS, { error: `must be at most ${MAX_LETTER_IDS} ids` })
    .optional()
    .meta({ description: "Only letters with one of these ids.", example: [EXAMPLE_IDS.deadLetter] }),
});
/** A set stands for itself. */
const setOrSelection = {
  setId: idSchema.optional().meta({ description: "The set that is meant, in the place of a selection." }),
  ...selectionSchema.shape,
};
const because = text.trim().min(1).max(500).meta({ description: "Why: kept with the letter." });

const redriveSchema = z.strictObject({
  body: z.string().optional().meta({ description: "The event to send in its place, as JSON text." }),
});

const CLOSED = { 409: "The letter is closed." };
const SET_REFUSALS = { 404: NO_SET, 409: "The set has been dealt with.", 422: "The set has expired." };
const BROKER_AWAY = { 503: "Database or broker cannot be reached; every letter stays open." };

/** Shows dead letters, has them redriven, and discards them. */
export function deadLetterRoutes({ opsSql, publisher, bindings, record }: OpsDeps): App {
  const redrive = async (c: RequestContext, set: string | LetterSelection, edited?: Edit) => {
    const broker = publisher();
    if (!broker) {
      throw unavailable("The broker cannot be reached at the moment; every letter stays open. Try again.");
    }
    return await transaction(opsSql, async (tx) => {
      const { id: setId, filter } = await setOf(tx, set);
      const outcome = await redriveLetters(tx, broker, setId, edited);
      if (!outcome) throw setProblem(await findReplay(tx, setId));
      const counts = { ...outcome, refused: outcome.refused.length };
      const subject = { setId, filter, ...counts, isEdited: edited !== undefined };
      await record(tx, c, { action: "redrive", subject });
      return { setId, ...outcome };
    });
  };
  const discard = (c: RequestContext, set: string | LetterSelection, because: string) =>
    transaction(opsSql, async (tx) => {
      const { id: setId, filter } = await setOf(tx, set);
      const outcome = await discardSet(tx, setId, because);
      if (!outcome) throw setProblem(await findReplay(tx, setId));
      await record(tx, c, { action: "discard", subject: { setId, filter, ...outcome }, because });
      return { setId, ...outcome };
    });
  return routes(
    "Dead letters",
    route("GET /", "listDeadLetters", "Dead letters, newest first", {
      query: listSchema,
      answers: [json(200, "A page of dead letters.", deadLettersPageSchema)],
      handle: async ({ query }) => {
        const { cursor, ...filter } = query();
        const deadLetters = await listDeadLetters(opsSql, { ...filter, before: cursor });
        return { deadLetters, nextCursor: nextCursor(deadLetters, filter.limit, byId) };
      },
    }),
    route("GET /groups", "groupDeadLetters", "Open letters, in groups of those that failed alike", {
      description: "Up to 100 groups of the newest 100,000 letters. Consumer, reason and pattern select one.",
      query: z.object(selectionFields),
      answers: [json(200, "The groups, those that failed last first.", letterGroupsSchema)],
      handle: async ({ query }) => ({ groups: await groupLetters(opsSql, query()) }),
    }),
    route("POST /sets", "prepareLetters", "Write down which letters are meant", {
      description:
        "The dry run of a redrive or a discard: at most 10,000 open letters that match, the oldest first. What is " +
        "then done with the set is done with these very letters, within a day.",
      body: {
        schema: selectionSchema,
        examples: {
          consumer: { summary: "All of one consumer", value: { consumer: "payments.order-created.v1" } },
        },
      },
      answers: [json(201, "The set, and the first of its letters.", preparedReplaySchema, LOCATION)],
      handle: async ({ c, body }) => await preparedSet(c, opsSql, await prepareLetters(opsSql, await body())),
    }),
    route(
      "POST /redrive",
      "redriveDeadLetters",
      "Send all open letters that match, or those of a set, to their consumers again",
      {
        description: "At most 1,000 at a time. Nobody else gets them. To send a set at a pace, start it.",
        body: {
          schema: z.strictObject(setOrSelection),
          examples: {
            consumer: { summary: "All of one consumer", value: { consumer: "payments.order-created.v1" } },
            unknown: {
              summary: "A field that there is not: 400, rather than everything",
              value: { consumers: [] },
              "x-status": 400,
            },
          },
        },
        answers: [json(200, "What became of them.", redrivenSchema)],
        refusals: { ...BROKER_AWAY, ...SET_REFUSALS },
        handle: async ({ c, body }) => await redrive(c, chosen(await body())),
      },
    ),
    route("POST /discard", "discardDeadLetters", "Discard all open letters that match, or those of a set", {
      description: "At most 1,000 at a time; a set as a whole.",
      body: {
        schema: z.strictObject({ ...setOrSelection, because }),
        examples: {
          reason: {
            summary: "All with one reason",
            value: { reason: "retries exhausted", because: "a test of ours" },
          },
        },
      },
      answers: [json(200, "How many were closed.", discardedSchema)],
      refusals: SET_REFUSALS,
      handle: async ({ c, body }) => {
        const { because, ...set } = await body();
        return await discard(c, chosen(set), because);
      },
    }),
    route("GET /:id", "readDeadLetter", "One dead letter", {
      id: "deadLetter",
      answers: [json(200, "The letter.", deadLetterSchema)],
      handle: ({ id }) => letterOr404(opsSql, id),
    }),
    route("POST /:id/redrive", "redriveDeadLetter", "Send a letter to its consumer again", {
      description:
        "With a `body`, that is sent in the place of the letter's own, which is kept: an event of the same id, of a " +
        "type that the consumer takes.",
      id: "deadLetter",
      body: { schema: redriveSchema, optional: true, examples: {} },
      answers: [json(200, "What became of it.", redrivenSchema)],
      refusals: { ...CLOSED, ...BROKER_AWAY },
      handle: async ({ c, id, body }) => {
        const letter = await openOr409(opsSql, id);
        const { body: text } = await body();
        const edited = text === undefined ? undefined : editOf(letter, text, bindings);
        return await redrive(c, { ids: [id] }, edited);
      },
    }),
    route("POST /:id/discard", "discardDeadLetter", "Discard a letter", {
      id: "deadLetter",
      body: {
        schema: z.strictObject({ because }),
        examples: { because: { summary: "With the reason", value: { because: "a test of ours" } } },
      },
      answers: [json(200, "1, as it was closed.", discardedSchema)],
      refusals: CLOSED,
      handle: async ({ c, id, body }) => {
        await openOr409(opsSql, id);
        const { because } = await body();
        return await discard(c, { ids: [id] }, because);
      },
    }),
  );
}

/** The id of a set, or else the selection that was given. */
function chosen({ setId, ...selection }: z.infer<z.ZodObject<typeof setOrSelection>>) {
  if (!setId) return selection;
  if (Object.keys(selection).length === 0) return setId;
  throw invalid("body", [[["setId"], "stands for its letters: leave the filters away"]]);
}

/** The set of letters with this id, or a new one of those that match now. */
async function setOf(sql: Queryable, set: string | LetterSelection): Promise<ReplayRow> {
  if (typeof set !== "string") return await prepareLetters(sql, set, MAX_LETTERS);
  const known = await setOr404(sql, set);
  if (known.action !== "REPLAY" && known.action !== "REPUBLISH") return known;
  throw new HttpProblem(409, "This is a set of events, not of letters.");
}

async function letterOr404(sql: Sql, id: string): Promise<DeadLetterRow> {
  return found(await findDeadLetter(sql, id), "There is no such dead letter.");
}

async function openOr409(sql: Sql, id: string): Promise<DeadLetterRow> {
  const letter = await letterOr404(sql, id);
  const { state, resolution } = letter;
  if (state === "OPEN") return letter;
  const detail = `The letter is closed: ${state}, ${resolution}. Only open ones can be dealt with.`;
  throw new HttpProblem(409, detail);
}

/** A body that is sent in the place of a letter's; throws a 400 where that would be another event, or none. */
function editOf({ eventId, consumer }: DeadLetterRow, body: string, bindings: readonly Binding[]): Edit {
  const wrong = (detail: string) => invalid("body", [[["body"], detail]]);
  const parsed = parseEvent(new TextEncoder().encode(body));
  if (!parsed.ok) throw wrong(`${parsed.reason}: ${parsed.detail}`);
  const { event } = parsed;
  if (eventId !== null && event.eventId !== eventId) throw wrong(`must keep the event's id, ${eventId}`);
  const takes = bindings.filter((binding) => binding.consumer === consumer).map(({ type }) => type);
  if (!takes.includes(event.type)) throw wrong(`${consumer} takes ${takes.join(", ") || "nothing"} alone`);
  return { body, type: event.type, correlationId: event.correlationId };
}
