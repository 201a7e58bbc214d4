/**
 * The route `/ops/status`: the whole system's state in one answer.
 *
 * @module
 */
import { listArmedFaults } from "../../shared/ops/faults.ts";
import { countStatuses } from "../../shared/ops/lists.ts";
import { type StatusFigures, type SystemStatus, systemStatusSchema } from "../../shared/ops/live.ts";
import { listReplays } from "../../shared/ops/replays.ts";
import { kindOfError } from "../../shared/process/errors.ts";
import { VERSION } from "../../shared/process/metrics.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import type { AppDeps } from "../deps.ts";
import { readReadiness } from "../health.ts";
import type { App } from "../http.ts";
import { json, route, routes } from "../openapi/route.ts";

/** Orders whose statuses are counted. */
const STATUS_ORDERS = 1000;
/** Replays under way that are listed. */
const STATUS_REPLAYS = 100;
/** How long the figures may take, in milliseconds: the pool they are read over may be busy with an audit or a page. */
const FIGURES_MS = 3000;

/** Tells the state of the system. That works while the database is away too: then there are no figures. */
export function statusRoutes(deps: AppDeps): App {
  return routes(
    "Inspection",
    route("GET /", "readStatus", "The whole system's state at once", {
      description: "Answers while the database is away too, without figures.",
      answers: [json(200, "The state of the system.", systemStatusSchema)],
      handle: async (): Promise<SystemStatus> => {
        const readiness = await readReadiness(deps);
        const figures = readiness.database === "up"
          ? await withTimeout(FIGURES_MS, readFigures(deps).catch(nullWhileAway))
          : null;
        return { at: new Date().toISOString(), version: VERSION, ...readiness, figures };
      },
    }),
  );
}

/** The database may go away, or be too slow, between its two answers. */
function nullWhileAway(error: unknown): null {
  if (kindOfError(error) === "permanent") throw error;
  return null;
}

async function readFigures({ opsSql, live, faults }: AppDeps): Promise<StatusFigures> {
  const questions = [
    live.read(),
    countStatuses(opsSql, STATUS_ORDERS),
    listReplays(opsSql, { limit: STATUS_REPLAYS, state: "RUNNING" }),
    faults ? listArmedFaults(opsSql) : null,
  ] as const;
  await Promise.allSettled(questions); // none is left behind when another one fails
  const [{ at: _, orders: __, ...figures }, statuses, replays, armed] = await Promise.all(questions);
  return {
    ...figures,
    orders: Object.fromEntries(statuses.map(({ status, count }) => [status, count])),
    replays: replays.map(({ id, total, sent, lastError }) => ({ id, total, sent, lastError })),
    faults: armed?.map(({ point, consumer, times }) => ({ point, consumer, times })) ?? null,
  };
}
