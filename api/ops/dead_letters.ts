/**
 * The routes under `/ops/dead-letters`.
 *
 * @module
 */
import { z } from "zod";
import {
  type OutgoingMessage,
  type Publisher,
  type PublishOutcome,
  toQueue,
} from "../../shared/broker/publish.ts";
import { idSchema } from "../../shared/events.ts";
import {
  deadLetterSchema,
  deadLettersPageSchema,
  discardedSchema,
  type RedrivenJson,
  redrivenSchema,
} from "../../shared/ops/answers.ts";
import {
  claimOpenLetters,
  closeLetters,
  discardLetters,
  findDeadLetter,
  LETTER_STATES,
  type LetterSelection,
  listDeadLetters,
} from "../../shared/ops/dead_letters.ts";
import { instantSchema } from "../../shared/ops/replays.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import type { AppDeps } from "../deps.ts";
import {
  type App,
  byId,
  consumerSchema,
  found,
  HttpProblem,
  nextCursor,
  pageQuery,
  unavailable,
} from "../http.ts";
import { EXAMPLE_IDS } from "../openapi/examples.ts";
import { json, route, routes } from "../openapi/route.ts";

/** Letters that one request deals with at most; more are for the next one. */
const MAX_LETTERS = 1000;
/** Ids in one request at most: as many as a page of the list has. */
const MAX_LETTER_IDS = 100;
/** How long the broker may take to answer for a batch, in milliseconds. */
const CONFIRM_TIMEOUT_MS = 5000;

/** Postgres' text cannot hold a NUL. */
const text = z.string({ error: "must be a text" }).regex(/^[^\0]*$/, { error: "must not contain a NUL" });
const instant = instantSchema.transform((text) => new Date(text)).optional();

const selectionFields = {
  consumer: consumerSchema.optional()
    .meta({ description: "Only letters of this consumer.", example: "payments.order-created.v1" }),
  reason: text.min(1).max(200).optional()
    .meta({ description: "Only letters with this reason.", example: "retries exhausted" }),
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
const because = text.trim().min(1).max(500).meta({ description: "Why: kept with the letter." });

const CLOSED = { 409: "The letter is closed." };
const BROKER_AWAY = { 503: "Database or broker cannot be reached; every letter stays open." };

/** Shows dead letters, has them redriven, and discards them. */
export function deadLetterRoutes({ opsSql, publisher }: Pick<AppDeps, "opsSql" | "publisher">): App {
  const redrive = async (selection: LetterSelection, limit: number) => {
    const broker = publisher();
    if (broker) return await redriveLetters(opsSql, broker, selection, limit);
    throw unavailable("The broker cannot be reached at the moment; every letter stays open. Try again.");
  };
  return routes(
    "Dead letters",
    route("GET /", "listDeadLetters", "Dead letters, newest first", {
      query: listSchema,
      answers: [json(200, "A page of dead letters.", deadLettersPageSchema)],
      handle: async ({ query: { cursor, ...filter } }) => {
        const deadLetters = await listDeadLetters(opsSql, { ...filter, before: cursor });
        return { deadLetters, nextCursor: nextCursor(deadLetters, filter.limit, byId) };
      },
    }),
    route(
      "POST /redrive",
      "redriveDeadLetters",
      "Send all open letters that match to their consumers again",
      {
        description: "At most 1,000 at a time. Nobody else gets them.",
        body: {
          schema: selectionSchema,
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
        refusals: BROKER_AWAY,
        handle: async ({ body }) => await redrive(await body(), MAX_LETTERS),
      },
    ),
    route("POST /discard", "discardDeadLetters", "Discard all open letters that match", {
      description: "At most 1,000 at a time.",
      body: {
        schema: selectionSchema.extend({ because }),
        examples: {
          reason: {
            summary: "All with one reason",
            value: { reason: "retries exhausted", because: "a test of ours" },
          },
        },
      },
      answers: [json(200, "How many were closed.", discardedSchema)],
      handle: async ({ body }) => {
        const { because, ...selection } = await body();
        return { discarded: await discardLetters(opsSql, selection, because, MAX_LETTERS) };
      },
    }),
    route("GET /:id", "readDeadLetter", "One dead letter", {
      id: "deadLetter",
      answers: [json(200, "The letter.", deadLetterSchema)],
      handle: ({ id }) => letterOr404(opsSql, id),
    }),
    route("POST /:id/redrive", "redriveDeadLetter", "Send a letter to its consumer again", {
      id: "deadLetter",
      answers: [json(200, "What became of it.", redrivenSchema)],
      refusals: { ...CLOSED, ...BROKER_AWAY },
      handle: async ({ id }) => {
        await checkOpen(opsSql, id);
        return await redrive({ ids: [id] }, 1);
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
      handle: async ({ id, body }) => {
        await checkOpen(opsSql, id);
        const { because } = await body();
        return { discarded: await discardLetters(opsSql, { ids: [id] }, because, 1) };
      },
    }),
  );
}

async function letterOr404(sql: Sql, id: string) {
  return found(await findDeadLetter(sql, id), "There is no such dead letter.");
}

async function checkOpen(sql: Sql, id: string): Promise<void> {
  const { state, resolution } = await letterOr404(sql, id);
  if (state === "OPEN") return;
  throw new HttpProblem(
    409,
    `The letter is closed: ${state}, ${resolution}. Only open ones can be dealt with.`,
  );
}

/**
 * Redrives up to `limit` open letters, in one transaction, each to its own consumer's queue and to nobody else. A letter
 * is closed once the broker has its message; killed in between, it stays open, and is sent once more another time, which
 * the inbox absorbs. Letters whose event was processed meanwhile are closed, since sending it would do nothing.
 */
export async function redriveLetters(
  sql: Sql,
  publisher: Publisher,
  selection: LetterSelection,
  limit: number,
): Promise<RedrivenJson> {
  return await transaction(sql, async (tx) => {
    const letters = await claimOpenLetters(tx, selection, limit);
    const processed = letters.filter((letter) => letter.processed).map(({ id }) => id);
    const cut = letters.filter(({ isCut }) => isCut).map(({ id }) => ({ id, error: CUT }));
    const messages = letters.filter((letter) => !letter.processed && !letter.isCut)
      .map(({ eventType: type, ...letter }) => ({ ...letter, type, occurredAt: null }));
    const outcomes = await sendToConsumers(publisher, messages);
    const redriven = outcomes.flatMap(({ confirmed }) => confirmed);
    await closeLetters(tx, redriven, "REDRIVEN", "redriven");
    await closeLetters(tx, processed, "DISCARDED", "already processed");
    return {
      redriven: redriven.length,
      alreadyProcessed: processed.length,
      refused: [
        ...cut,
        ...outcomes.flatMap(({ refused, unknown }) => [
          ...refused,
          ...unknown.map((id) => ({ id, error: "the broker gave no answer" })),
        ]),
      ],
    };
  });
}

const CUT =
  "only its beginning was kept, because it was too large: have it sent again by whoever sent it, and discard this";

/** One batch for each consumer. */
async function sendToConsumers(
  publisher: Publisher,
  messages: readonly (OutgoingMessage & { readonly consumer: string })[],
): Promise<PublishOutcome[]> {
  const batches = Map.groupBy(messages, ({ consumer }) => consumer);
  return await Promise.all(
    [...batches].map(([consumer, batch]) => publisher.publish(batch, toQueue(consumer), CONFIRM_TIMEOUT_MS)),
  );
}
