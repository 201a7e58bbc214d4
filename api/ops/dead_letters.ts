/**
 * The routes under `/ops/dead-letters`.
 *
 * @module
 */
import { Hono } from "hono";
import type { Publisher } from "../../shared/broker/publish.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { discardLetters, findDeadLetter, listDeadLetters } from "../../shared/ops/dead_letters.ts";
import type { App, CorrelationEnv } from "../correlation.ts";
import * as contract from "./dead_letters_contract.ts";
import { describeRoutes } from "../openapi/describe.ts";
import { HttpProblem, parseOr400 } from "../http.ts";
import { nextCursor } from "../paging.ts";
import { parseId } from "../path_id.ts";
import { readJson } from "../read_json.ts";
import { redriveLetters } from "./redrive.ts";

export interface DeadLetterDeps {
  readonly opsSql: Sql;
  /** Sends to the broker; null while it cannot be reached. */
  readonly publisher: () => Publisher | null;
}

/** Letters that one request deals with at most; more are for the next one. */
const MAX_LETTERS = 1000;

/** Shows dead letters, has them redriven, and discards them. */
export function deadLetterRoutes({ opsSql, publisher }: DeadLetterDeps): App {
  const app = new Hono<CorrelationEnv>();

  app.get("/", async (c) => {
    const { cursor, ...filter } = parseOr400(contract.listSchema, c.req.query(), "query");
    const deadLetters = await listDeadLetters(opsSql, { ...filter, before: cursor });
    return c.json({ deadLetters, nextCursor: nextCursor(deadLetters, filter.limit) });
  });

  app.post("/redrive", async (c) => {
    const selection = parseOr400(contract.selectionSchema, await readJson(c), "body");
    return c.json(await redriveLetters(opsSql, publisherOr503(publisher()), selection, MAX_LETTERS));
  });

  app.post("/discard", async (c) => {
    const { because, ...selection } = parseOr400(contract.discardSchema, await readJson(c), "body");
    return c.json({ discarded: await discardLetters(opsSql, selection, because, MAX_LETTERS) });
  });

  app.get("/:id", async (c) => c.json(await letterOr404(opsSql, c.req.param("id"))));

  app.post("/:id/redrive", async (c) => {
    const { id } = await openLetterOr409(opsSql, c.req.param("id"));
    return c.json(await redriveLetters(opsSql, publisherOr503(publisher()), { ids: [id] }, 1));
  });

  app.post("/:id/discard", async (c) => {
    const { id } = await openLetterOr409(opsSql, c.req.param("id"));
    const { because } = parseOr400(contract.discardOneSchema, await readJson(c), "body");
    return c.json({ discarded: await discardLetters(opsSql, { ids: [id] }, because, 1) });
  });

  return describeRoutes(app, {
    "GET /": contract.listLetters,
    "POST /redrive": contract.redriveAll,
    "POST /discard": contract.discardAll,
    "GET /:id": contract.readLetter,
    "POST /:id/redrive": contract.redriveOne,
    "POST /:id/discard": contract.discardOne,
  });
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
  const letter = await findDeadLetter(sql, parseId(id));
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
