// The routes under `/ops/replays`: published events, sent to their consumers once more.

import { z } from "zod";
import {
  preparedReplaySchema,
  replayEventsPageSchema,
  replayOutcomeSchema,
  replaySchema,
  replaysPageSchema,
} from "../../shared/ops/answers.ts";
import {
  cancelReplay,
  DEFAULT_REPLAY_RATE,
  findReplay,
  listReplayEvents,
  listReplays,
  MAX_REPLAY_MESSAGES,
  prepareReplay,
  readHorizon,
  readOutcome,
  replayFilterSchema,
  replayRateSchema,
  type ReplayRow,
  startReplay,
} from "../../shared/ops/replays.ts";
import { type Queryable, type Sql, transaction } from "../../shared/sql/connect.ts";
import {
  type App,
  byId,
  found,
  HttpProblem,
  invalid,
  nextCursor,
  pageQuery,
  pageSchema,
  type RequestContext,
} from "../http.ts";
import { EXAMPLE_IDS, json, LOCATION, route, routes } from "../openapi/route.ts";
import type { OpsDeps } from "./operations.ts";

/** Messages that the answer of a dry run shows; the others are on further pages. */
const FIRST_PAGE = 20;
/** What a refusal advises is this much younger than what is remembered: the horizon moves while somebody decides. */
const TIME_TO_START_MS = 3_600_000;

/** The cursor is the place of the last message seen. */
const eventsSchema = z.object({
  limit: pageQuery.limit,
  cursor: z.coerce.number({ error: "must be the nextCursor of an earlier answer" })
    .int().min(0).max(MAX_REPLAY_MESSAGES).default(0)
    .meta({ description: "The `nextCursor` of the page before." }),
});

const startSchema = z.strictObject({
  ratePerSecond: replayRateSchema.default(DEFAULT_REPLAY_RATE)
    .meta({ description: "Messages per second at most." }),
});

export const NO_SET = "There is no such replay. It may have been pruned.";
const TOO_OLD = "Too old: the inbox remembers events for `RETENTION_DAYS`, and no longer.";

/** Prepares replays, shows what they consist of, starts and cancels them. The relay does the sending. */
export function replayRoutes({ opsSql, bindings, retentionDays, record }: OpsDeps): App {
  const consumers = [...new Set(bindings.map(({ consumer }) => consumer))];
  return routes(
    "Replays",
    route("POST /", "prepareReplay", "Write down what a replay would send", {
      description:
        "Sends nothing. What is started later is this very set: one message for each published event that " +
        "matches, and each consumer that is to get it.",
      body: {
        schema: replayFilterSchema,
        examples: {
          type: { summary: "All events of a type", value: { type: "order.created" } },
          order: {
            summary: "What one consumer is to get of one order",
            value: { orderId: EXAMPLE_IDS.order, consumer: "payments.order-created.v1" },
          },
          nothing: { summary: "No filter at all: 400", value: {}, "x-status": 400 },
        },
      },
      answers: [json(201, "The replay, and the first of its messages.", preparedReplaySchema, LOCATION)],
      refusals: { 422: `${TOO_OLD} Or more messages than one replay has.` },
      handle: async ({ c, body }) => {
        const filter = await body();
        if (filter.consumer !== undefined && !consumers.includes(filter.consumer)) {
          // A misspelt one would match nothing, which looks like an answer.
          throw invalid("body", [[["consumer"], `must be one of ${consumers.join(", ")}`]]);
        }
        const horizon = await readHorizon(opsSql, retentionDays);
        if (filter.from && new Date(filter.from) < horizon) throw tooOld(`from is ${filter.from}`, horizon);
        const { replay, oldest } = await prepareReplay(opsSql, filter, bindings, horizon);
        if (oldest) throw tooOld(`the oldest event that matches is of ${oldest.toISOString()}`, horizon);
        if (replay) return await preparedSet(c, opsSql, replay);
        throw new HttpProblem(
          422,
          `More than ${MAX_REPLAY_MESSAGES} messages match, which is the most that one replay has. Narrow it: give ` +
            "a type, a consumer, or a shorter time, and replay the rest after it.",
        );
      },
    }),
    route("GET /", "listReplays", "Replays, newest first", {
      query: pageSchema,
      answers: [json(200, "A page of replays.", replaysPageSchema)],
      handle: async ({ query }) => {
        const { limit, cursor } = query();
        const replays = await listReplays(opsSql, { limit, before: cursor });
        return { replays, nextCursor: nextCursor(replays, limit, byId) };
      },
    }),
    route("GET /:id", "readReplay", "How far a replay is", {
      id: "replay",
      answers: [json(200, "The replay.", replaySchema)],
      handle: ({ id }) => setOr404(opsSql, id),
    }),
    route("GET /:id/events", "listReplayEvents", "A replay's messages, in the order of sending", {
      id: "replay",
      query: eventsSchema,
      answers: [json(200, "A page of the messages.", replayEventsPageSchema)],
      handle: async ({ id, query }) => {
        const { limit, cursor } = query();
        await setOr404(opsSql, id);
        return await eventsOf(opsSql, id, limit, cursor);
      },
    }),
    route("GET /:id/outcome", "readOutcome", "To whom a set goes, and what it came to there", {
      id: "replay",
      answers: [json(200, "How many messages came to what, by consumer.", replayOutcomeSchema)],
      handle: async ({ id }) => {
        await setOr404(opsSql, id);
        return await readOutcome(opsSql, id);
      },
    }),
    route("POST /:id/start", "startReplay", "Send what was prepared", {
      id: "replay",
      body: {
        schema: startSchema,
        optional: true, // the rate is all that it can say
        examples: { rate: { summary: "50 messages per second", value: { ratePerSecond: 50 } } },
      },
      answers: [json(202, "The replay, running; the relay sends.", replaySchema)],
      refusals: { 409: "The replay is not `PREPARED`.", 422: "The set has expired." },
      handle: async ({ c, id, body }) => {
        const { ratePerSecond } = await body();
        return await transaction(opsSql, async (tx) => {
          const started = await startReplay(tx, id, ratePerSecond);
          if (!started) throw setProblem(await findReplay(tx, id));
          const { action, filter, total } = started;
          const subject = { setId: id, filter, total, ratePerSecond };
          await record(tx, c, { action: action.toLowerCase(), subject });
          return started;
        });
      },
    }),
    route("POST /:id/cancel", "cancelReplay", "End a replay", {
      id: "replay",
      answers: [json(200, "The replay, cancelled.", replaySchema)],
      refusals: { 409: "The replay has ended." },
      handle: ({ c, id }) =>
        transaction(opsSql, async (tx) => {
          const cancelled = await cancelReplay(tx, id, "cancelled by an operator");
          if (!cancelled) throw setProblem(await findReplay(tx, id), "There is nothing left to cancel.");
          const { sent, total } = cancelled;
          await record(tx, c, { action: "cancel", subject: { setId: id, sent, total } });
          return cancelled;
        }),
    }),
  );
}

/** The set with this id. */
export async function setOr404(sql: Queryable, id: string): Promise<ReplayRow> {
  return found(await findReplay(sql, id), NO_SET);
}

async function eventsOf(sql: Sql, id: string, limit: number, after: number) {
  const events = await listReplayEvents(sql, id, { limit, after });
  return { events, nextCursor: nextCursor(events, limit, ({ position }) => String(position)) };
}

/** A set that was prepared just now, and its first messages. */
export async function preparedSet(c: RequestContext, sql: Sql, set: ReplayRow) {
  c.header("location", `/ops/replays/${set.id}`);
  return { ...set, ...await eventsOf(sql, set.id, FIRST_PAGE, 0) };
}

/** Why a set cannot be acted on: there is none, it has expired, or it is in another state. */
export function setProblem(
  set: ReplayRow | undefined,
  remedy = "Only a prepared one can be started: prepare it anew.",
): HttpProblem {
  const { state, reason, expiresAt } = found(set, NO_SET);
  if (state === "PREPARED") {
    return new HttpProblem(422, `The set has expired at ${expiresAt.toISOString()}. Prepare it anew.`);
  }
  return new HttpProblem(409, `The replay is ${state}${reason ? ` (${reason})` : ""}. ${remedy}`);
}

/** What is asked for may have been processed longer ago than the inbox remembers. */
function tooOld(what: string, horizon: Date): HttpProblem {
  const from = new Date(horizon.getTime() + TIME_TO_START_MS).toISOString();
  return new HttpProblem(
    422,
    `Too old to replay: ${what}, and the inbox remembers only what is younger than ${horizon.toISOString()} ` +
      "(RETENTION_DAYS). A consumer could not tell a repeat of an older event from a new one, and would act on it " +
      `again. Narrow the replay: a from of ${from} or later leaves you an hour to start it.`,
  );
}
