/**
 * The routes under `/ops/replays`: published events, sent to their consumers once more.
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
  cancelReplay,
  DEFAULT_REPLAY_RATE,
  findReplay,
  listReplayEvents,
  listReplays,
  MAX_REPLAY_MESSAGES,
  oldestBefore,
  prepareReplay,
  readHorizon,
  replayFilterSchema,
  replayRateSchema,
  type ReplayRow,
  startReplay,
} from "../../shared/ops/replays.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import type { AppDeps } from "../deps.ts";
import { type App, byId, found, HttpProblem, invalid, nextCursor, pageQuery, pageSchema } from "../http.ts";
import { EXAMPLE_IDS } from "../openapi/examples.ts";
import { json, LOCATION, route, routes } from "../openapi/route.ts";

/** Messages that the answer of a dry run shows; the others are on further pages. */
const FIRST_PAGE = 20;
/** What a refusal advises is this much younger than what is remembered: the horizon moves while somebody decides. */
const TIME_TO_START_MS = 3_600_000;

/** The cursor is the place of the last message seen. */
const eventsSchema = z.object({
  limit: pageQuery.limit,
  cursor: z.coerce.number({ error: "must be the nextCursor of an earlier answer" }).int().min(0).max(
    MAX_REPLAY_MESSAGES,
  ).default(0).meta({ description: "The `nextCursor` of the page before." }),
});

const startSchema = z.strictObject({
  ratePerSecond: replayRateSchema.default(DEFAULT_REPLAY_RATE)
    .meta({ description: "Messages per second at most." }),
});

const TOO_OLD = "Too old: the inbox remembers events for `RETENTION_DAYS`, and no longer.";

/** Prepares replays, shows what they consist of, starts and cancels them. The relay does the sending. */
export function replayRoutes(
  { opsSql, bindings, retentionDays }: Pick<AppDeps, "opsSql" | "bindings" | "retentionDays">,
): App {
  const horizonNow = () => readHorizon(opsSql, retentionDays);
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
        const horizon = await horizonNow();
        if (filter.from && new Date(filter.from) < horizon) throw tooOld(`from is ${filter.from}`, horizon);
        const prepared = await prepareReplay(opsSql, { filter, bindings, horizon });
        if (prepared.kind === "too old") {
          throw tooOld(`the oldest event that matches is of ${prepared.oldest.toISOString()}`, horizon);
        }
        if (prepared.kind === "too many") {
          throw new HttpProblem(
            422,
            `More than ${MAX_REPLAY_MESSAGES} messages match, which is the most that one replay has. Narrow it: give ` +
              "a type, a consumer, or a shorter time, and replay the rest after it.",
          );
        }
        const { replay } = prepared;
        c.header("location", `/ops/replays/${replay.id}`);
        return { ...replay, ...await eventsOf(opsSql, replay.id, FIRST_PAGE, 0) };
      },
    }),
    route("GET /", "listReplays", "Replays, newest first", {
      query: pageSchema,
      answers: [json(200, "A page of replays.", replaysPageSchema)],
      handle: async ({ query: { limit, cursor } }) => {
        const replays = await listReplays(opsSql, { limit, before: cursor });
        return { replays, nextCursor: nextCursor(replays, limit, byId) };
      },
    }),
    route("GET /:id", "readReplay", "How far a replay is", {
      id: "replay",
      answers: [json(200, "The replay.", replaySchema)],
      handle: ({ id }) => replayOr404(opsSql, id),
    }),
    route("GET /:id/events", "listReplayEvents", "A replay's messages, in the order of sending", {
      id: "replay",
      query: eventsSchema,
      answers: [json(200, "A page of the messages.", replayEventsPageSchema)],
      handle: async ({ id, query: { limit, cursor } }) => {
        await replayOr404(opsSql, id);
        return await eventsOf(opsSql, id, limit, cursor);
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
      refusals: { 409: "The replay is not `PREPARED`.", 422: TOO_OLD },
      handle: async ({ id, body }) => {
        const { ratePerSecond } = await body();
        const { state, createdAt } = await replayOr404(opsSql, id);
        if (state === "PREPARED") {
          const horizon = await horizonNow();
          if (createdAt < horizon) {
            throw tooOld(`this replay was prepared at ${createdAt.toISOString()}`, horizon);
          }
          const oldest = await oldestBefore(opsSql, id, horizon);
          if (oldest) throw tooOld(`the oldest event of this replay is of ${oldest.toISOString()}`, horizon);
          const started = await startReplay(opsSql, id, ratePerSecond);
          if (started) return started;
        }
        throw wrongState(
          await replayOr404(opsSql, id),
          "Only a prepared one can be started: prepare it anew.",
        );
      },
    }),
    route("POST /:id/cancel", "cancelReplay", "End a replay", {
      id: "replay",
      answers: [json(200, "The replay, cancelled.", replaySchema)],
      refusals: { 409: "The replay has ended." },
      handle: async ({ id }) => {
        const cancelled = await cancelReplay(opsSql, id, "cancelled by an operator");
        if (cancelled) return cancelled;
        throw wrongState(await replayOr404(opsSql, id), "There is nothing left to cancel.");
      },
    }),
  );
}

async function replayOr404(sql: Sql, id: string): Promise<ReplayRow> {
  return found(await findReplay(sql, id), "There is no such replay. It may have been pruned.");
}

async function eventsOf(sql: Sql, id: string, limit: number, after: number) {
  const events = await listReplayEvents(sql, id, { limit, after });
  return { events, nextCursor: nextCursor(events, limit, ({ position }) => String(position)) };
}

function wrongState({ state, reason }: ReplayRow, remedy: string): HttpProblem {
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
