/**
 * Whether the process is up, and whether it can serve.
 *
 * @module
 */
import { Hono } from "hono";
import { z } from "zod";
import type { Sql } from "../shared/sql/connect.ts";
import { withTimeout } from "../shared/process/stop.ts";
import type { App, CorrelationEnv } from "./correlation.ts";
import { describeRoutes, json } from "./openapi/describe.ts";
import type { Description } from "./openapi/description.ts";

/** What readiness depends on. */
export interface HealthDeps {
  /** The pool that orders are written over: what holds up the page or ops leaves the API able to serve. */
  readonly ordersSql: Sql;
  /** Whether the database has been reached since the process started, and its schema is up to date. */
  readonly isSchemaReady: () => boolean;
  /** Whether this process's connection to the broker is up at the moment. */
  readonly isBrokerUp: () => boolean;
}

/** How long the database may take to answer before it counts as not reachable, in milliseconds. */
const PROBE_TIMEOUT_MS = 2000;

const part = z.enum(["up", "down"]);
const readinessSchema = z.object({ status: z.enum(["ready", "not ready"]), database: part, broker: part });

/**
 * `/healthz`: the process is up. `/readyz`: database and broker can be reached; 503 says which cannot. Orders are still
 * accepted while only the broker is away: the outbox keeps their events.
 */
export function healthRoutes(deps: HealthDeps): App {
  const app = new Hono<CorrelationEnv>();
  app.get("/healthz", (c) => c.json({ status: "up" }));
  app.get("/readyz", async (c) => {
    const { database, broker } = await readReadiness(deps);
    const ready = database === "up" && broker === "up";
    return c.json({ status: ready ? "ready" : "not ready", database, broker }, ready ? 200 : 503);
  });
  return describeRoutes(app, { "GET /healthz": describeHealth, "GET /readyz": describeReadiness });
}

/** Whether database and broker can be reached; the database has two seconds to answer. */
export async function readReadiness(
  { ordersSql, isSchemaReady, isBrokerUp }: HealthDeps,
): Promise<{ database: "up" | "down"; broker: "up" | "down" }> {
  const answers = () => withTimeout(PROBE_TIMEOUT_MS, ordersSql`select 1`.then(() => true, () => false));
  const database = isSchemaReady() && await answers() ? "up" : "down";
  return { database, broker: isBrokerUp() ? "up" : "down" };
}

function describeHealth(): Description {
  return {
    operationId: "readHealth",
    tags: ["Health"],
    summary: "Whether the process is up",
    responses: { 200: json("It is.", z.object({ status: z.literal("up") })) },
  };
}

function describeReadiness(): Description {
  return {
    operationId: "readReadiness",
    tags: ["Health"],
    summary: "Whether database and broker can be reached",
    description: "Orders are accepted while only the broker is away.",
    responses: {
      200: json("Both can.", readinessSchema),
      503: json("The one that is `down` cannot.", readinessSchema),
    },
  };
}
