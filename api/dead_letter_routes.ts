/**
 * The routes under `/ops/dead-letters`.
 *
 * @module
 */
import { Hono } from "hono";
import { z } from "zod";
import type { Publisher } from "../shared/broker/publish.ts";
import { idSchema } from "../shared/events/envelope.ts";
import type { Sql } from "../shared/sql/connect.ts";
import {
  discardLetters,
  findDeadLetter,
  LETTER_STATES,
  listDeadLetters,
} from "../shared/sql/dead_letters.ts";
import type { App, CorrelationEnv } from "./correlation.ts";
import { HttpProblem, parseOr400 } from "./http_errors.ts";
import { consumerSchema, nextCursor, pageQuery } from "./paging.ts";
import { readJson } from "./read_json.ts";
import { redriveLetters } from "./redrive.ts";

/** What the routes need. */
export interface DeadLetterDeps {
  /** A pool that may read dead letters and close them. */
  readonly opsSql: Sql;
  /** Sends to the broker; null while it cannot be reached. */
  readonly publisher: () => Publisher | null;
}

/** Letters that one request deals with at most; more are for the next one. */
const MAX_LETTERS = 1000;

/** Postgres' text cannot hold a NUL. */
const text = z.string({ error: "must be a text" }).regex(/^[^\0]*$/, { error: "must not contain a NUL" });

const selectionFields = {
  consumer: consumerSchema.optional(),
  reason: text.min(1).max(200).optional(),
  orderId: idSchema.optional(),
};

const listSchema = z.object({
  ...pageQuery,
  ...selectionFields,
  state: z.enum(LETTER_STATES, { error: `must be one of ${LETTER_STATES.join(", ")}` }).optional(),
});

const selectionSchema = z.strictObject(selectionFields);
const discardReason = text.trim().min(1).max(500);

/** Shows dead letters, has them redriven, and discards them. */
export function deadLetterRoutes({ opsSql, publisher }: DeadLetterDeps): App {
  const app = new Hono<CorrelationEnv>();

  app.get("/", async (c) => {
    const { cursor, ...filter } = parseOr400(listSchema, c.req.query(), "query");
    const deadLetters = await listDeadLetters(opsSql, { ...filter, before: cursor });
    return c.json({ deadLetters, nextCursor: nextCursor(deadLetters, filter.limit) });
  });

  app.post("/redrive", async (c) => {
    const selection = parseOr400(selectionSchema, await readJson(c), "body");
    return c.json(await redriveLetters(opsSql, publisherOr503(publisher()), selection, MAX_LETTERS));
  });

  app.post("/discard", async (c) => {
    const schema = selectionSchema.extend({ because: discardReason });
    const { because, ...selection } = parseOr400(schema, await readJson(c), "body");
    return c.json({ discarded: await discardLetters(opsSql, selection, because, MAX_LETTERS) });
  });

  app.get("/:id", async (c) => c.json(await letterOr404(opsSql, c.req.param("id"))));

  app.post("/:id/redrive", async (c) => {
    const { id } = await openLetterOr409(opsSql, c.req.param("id"));
    return c.json(await redriveLetters(opsSql, publisherOr503(publisher()), { id }, 1));
  });

  app.post("/:id/discard", async (c) => {
    const { id } = await openLetterOr409(opsSql, c.req.param("id"));
    const { because } = parseOr400(z.strictObject({ because: discardReason }), await readJson(c), "body");
    return c.json({ discarded: await discardLetters(opsSql, { id }, because, 1) });
  });

  return app;
}

function publisherOr503(publisher: Publisher | null): Publisher {
  if (publisher) return publisher;
  throw new HttpProblem(
    503,
    "The broker cannot be reached at the moment; every letter stays open. Try again.",
    {
      headers: { "retry-after": "1" },
    },
  );
}

async function letterOr404(sql: Sql, id: string) {
  const letter = await findDeadLetter(sql, parseOr400(z.object({ id: idSchema }), { id }, "path").id);
  if (!letter) throw new HttpProblem(404, "There is no such dead letter.");
  return letter;
}

async function openLetterOr409(sql: Sql, id: string) {
  const letter = await letterOr404(sql, id);
  if (letter.state === "OPEN") return letter;
  throw new HttpProblem(
    409,
    `The letter is closed: ${letter.state}, ${letter.resolution}. Only open ones can be dealt with.`,
  );
}
