/**
 * The routes under `/ops/replays`: published events, sent to their consumers once more.
 *
 * @module
 */
import { Hono } from "hono";
import type { Binding } from "../../shared/broker/connection.ts";
import {
  cancelReplay,
  findReplay,
  listReplayEvents,
  listReplays,
  MAX_REPLAY_MESSAGES,
  oldestBefore,
  prepareReplay,
  type ReplayFilter,
  replayFilterSchema,
  type ReplayRow,
  startReplay,
} from "../../shared/ops/replays.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import type { App, CorrelationEnv } from "../correlation.ts";
import { describeRoutes } from "../openapi/describe.ts";
import { HttpProblem, parseOr400 } from "../http.ts";
import { nextCursor, pageSchema } from "../paging.ts";
import { parseId } from "../path_id.ts";
import { readJson } from "../read_json.ts";
import * as contract from "./replays_contract.ts";

export interface ReplayDeps {
  readonly opsSql: Sql;
  readonly bindings: readonly Binding[];
  /** How long the inbox remembers what was processed, in days. */
  readonly retentionDays: number;
}

/** Messages that the answer of a dry run shows; the others are on further pages. */
const FIRST_PAGE = 20;
const DAY_MS = 86_400_000;
/** What a refusal advises is this much younger than what is remembered: the horizon moves while somebody decides. */
const TIME_TO_START_MS = 3_600_000;

/** Prepares replays, shows what they consist of, starts and cancels them. The relay does the sending. */
export function replayRoutes({ opsSql, bindings, retentionDays }: ReplayDeps): App {
  const app = new Hono<CorrelationEnv>();
  const horizonNow = () => new Date(Date.now() - retentionDays * DAY_MS);

  app.post("/", async (c) => {
    const filter = parseOr400(replayFilterSchema, await readJson(c), "body");
    checkConsumer(filter, bindings);
    const horizon = horizonNow();
    if (filter.from && new Date(filter.from) < horizon) throw forgotten(`from is ${filter.from}`, horizon);
    const prepared = await prepareReplay(opsSql, { filter, bindings, horizon });
    if (prepared.kind === "too old") {
      throw forgotten(`the oldest event that matches is of ${prepared.oldest.toISOString()}`, horizon);
    }
    if (prepared.kind === "too many") {
      throw new HttpProblem(
        422,
        `More than ${MAX_REPLAY_MESSAGES} messages match, which is the most that one replay has. Narrow it: give a ` +
          "type, a consumer, or a shorter time, and replay the rest after it.",
      );
    }
    const { replay } = prepared;
    c.header("location", `/ops/replays/${replay.id}`);
    return c.json({ ...replay, ...await eventsOf(opsSql, replay.id, FIRST_PAGE, 0) }, 201);
  });

  app.get("/", async (c) => {
    const { limit, cursor } = parseOr400(pageSchema, c.req.query(), "query");
    const replays = await listReplays(opsSql, { limit, before: cursor });
    return c.json({ replays, nextCursor: nextCursor(replays, limit) });
  });

  app.get("/:id", async (c) => c.json(await replayOr404(opsSql, parseId(c.req.param("id")))));

  app.get("/:id/events", async (c) => {
    const { id } = await replayOr404(opsSql, parseId(c.req.param("id")));
    const { limit, cursor } = parseOr400(contract.eventsSchema, c.req.query(), "query");
    return c.json(await eventsOf(opsSql, id, limit, cursor));
  });

  app.post("/:id/start", async (c) => {
    const id = parseId(c.req.param("id"));
    // The rate is all that a body can say, so it may be left away.
    const body = c.req.header("content-type") === undefined ? {} : await readJson(c);
    const { ratePerSecond } = parseOr400(contract.startSchema, body, "body");
    const { state, createdAt } = await replayOr404(opsSql, id);
    if (state === "PREPARED") {
      const horizon = horizonNow();
      if (createdAt < horizon) {
        throw forgotten(`this replay was prepared at ${createdAt.toISOString()}`, horizon);
      }
      const oldest = await oldestBefore(opsSql, id, horizon);
      if (oldest) throw forgotten(`the oldest event of this replay is of ${oldest.toISOString()}`, horizon);
      const started = await startReplay(opsSql, id, ratePerSecond);
      if (started) return c.json(started, 202);
    }
    throw wrongState(await replayOr404(opsSql, id), "Only a prepared one can be started: prepare it anew.");
  });

  app.post("/:id/cancel", async (c) => {
    const id = parseId(c.req.param("id"));
    const cancelled = await cancelReplay(opsSql, id, "cancelled by an operator");
    if (cancelled) return c.json(cancelled);
    throw wrongState(await replayOr404(opsSql, id), "There is nothing left to cancel.");
  });

  return describeRoutes(app, {
    "POST /": contract.prepare,
    "GET /": contract.listReplays,
    "GET /:id": contract.readReplay,
    "GET /:id/events": contract.listReplayEvents,
    "POST /:id/start": contract.start,
    "POST /:id/cancel": contract.cancel,
  });
}

async function replayOr404(sql: Sql, id: string): Promise<ReplayRow> {
  const replay = await findReplay(sql, id);
  if (!replay) throw new HttpProblem(404, "There is no such replay. It may have been pruned.");
  return replay;
}

async function eventsOf(sql: Sql, id: string, limit: number, after: number) {
  const events = await listReplayEvents(sql, id, { limit, after });
  const last = events.length === limit ? events.at(-1) : undefined;
  return { events, nextCursor: last ? String(last.position) : null };
}

function wrongState({ state, reason }: ReplayRow, remedy: string): HttpProblem {
  return new HttpProblem(409, `The replay is ${state}${reason ? ` (${reason})` : ""}. ${remedy}`);
}

/** A misspelt consumer would match nothing, which looks like an answer. */
function checkConsumer({ consumer }: ReplayFilter, bindings: readonly Binding[]): void {
  const known = [...new Set(bindings.map((binding) => binding.consumer))];
  if (consumer === undefined || known.includes(consumer)) return;
  const detail = `must be one of ${known.join(", ")}`;
  throw new HttpProblem(400, "The body of the request is not valid.", {
    errors: [{ field: "consumer", in: "body", pointer: "#/consumer", detail }],
  });
}

/** What is asked for may have been processed longer ago than the inbox remembers. */
function forgotten(what: string, horizon: Date): HttpProblem {
  const from = new Date(horizon.getTime() + TIME_TO_START_MS).toISOString();
  return new HttpProblem(
    422,
    `Too old to replay: ${what}, and the inbox remembers only what is younger than ${horizon.toISOString()} ` +
      "(RETENTION_DAYS). A consumer could not tell a repeat of an older event from a new one, and would act on it " +
      `again. Narrow the replay: a from of ${from} or later leaves you an hour to start it.`,
  );
}
