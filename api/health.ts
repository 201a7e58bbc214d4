/**
 * Whether the process is up, and whether it can serve.
 *
 * @module
 */
import { z } from "zod";
import { withTimeout } from "../shared/process/stop.ts";
import type { AppDeps } from "./deps.ts";
import type { App } from "./http.ts";
import { json, route, routes } from "./openapi/route.ts";

/** How long the database may take to answer before it counts as not reachable, in milliseconds. */
const PROBE_TIMEOUT_MS = 2000;

type HealthDeps = Pick<AppDeps, "ordersSql" | "isSchemaReady" | "isBrokerUp">;

const part = z.enum(["up", "down"]);
const readinessSchema = z.object({ status: z.enum(["ready", "not ready"]), database: part, broker: part });

/**
 * `/healthz`: the process is up. `/readyz`: database and broker can be worked with; 503 says which cannot. Orders are still
 * accepted while only the broker is away: the outbox keeps their events.
 */
export function healthRoutes(deps: HealthDeps): App {
  return routes(
    "Health",
    route("GET /healthz", "readHealth", "Whether the process is up", {
      answers: [json(200, "It is.", z.object({ status: z.literal("up") }))],
      handle: () => ({ status: "up" }),
    }),
    route("GET /readyz", "readReadiness", "Whether database and broker can be reached", {
      description: "Orders are accepted while only the broker is away.",
      answers: [
        json(200, "Both can.", readinessSchema),
        json(503, "The one that is `down` cannot.", readinessSchema),
      ],
      handle: async ({ c }) => {
        const { database, broker } = await readReadiness(deps);
        const ready = database === "up" && broker === "up";
        return c.json({ status: ready ? "ready" : "not ready", database, broker }, ready ? 200 : 503);
      },
    }),
  );
}

/**
 * Whether the database takes writes and the broker can be reached; the database has two seconds to answer, over the pool
 * that orders are written over: what holds up the page or ops leaves the API able to serve.
 */
export async function readReadiness(
  { ordersSql, isSchemaReady, isBrokerUp }: HealthDeps,
): Promise<{ database: "up" | "down"; broker: "up" | "down" }> {
  const isWritable = () =>
    ordersSql<{ is: boolean }[]>`
    select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off' as is`
      .then(([writable]) => writable?.is === true, () => false);
  const database = isSchemaReady() && await withTimeout(PROBE_TIMEOUT_MS, isWritable()) ? "up" : "down";
  return { database, broker: isBrokerUp() ? "up" : "down" };
}
