/**
 * The routes under `/ops/faults`: what is armed, and arming it. They exist only where `FAULTS_ENABLED` is on.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { Hono } from "hono";
import { z } from "zod";
import type { Topology } from "../shared/broker/topology.ts";
import { correlationIdSchema } from "../shared/events/envelope.ts";
import { type Fault, FAULT_POINTS, faultPointSchema } from "../shared/faults/fault_points.ts";
import type { Schema } from "../shared/schema.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { listArmedFaults, replaceFaults } from "../shared/sql/faults.ts";
import type { App, CorrelationEnv } from "./correlation.ts";
import { parseOr400 } from "./http_errors.ts";
import { readJson } from "./read_json.ts";

/** Faults in one request at most. */
const MAX_FAULTS = 100;
/** The longest delay that can be asked for, in milliseconds. */
const MAX_DELAY_MS = 60_000;
/**
 * How long an answer waits behind what it armed, in milliseconds: the processes hear of it by a notification, and what
 * is asked for next should not overtake that.
 */
const HEAD_START_MS = 100;

/** Shows and replaces what is armed. `sql` is of the role that may. */
export function faultRoutes(sql: Sql, topology: Topology): App {
  const app = new Hono<CorrelationEnv>();
  const bodySchema = faultsSchema(Object.values(topology.queues).map(({ name }) => name));
  const points = Object.entries(FAULT_POINTS).map(([point, spec]) => ({ point, ...spec }));

  app.get("/", async (c) => c.json({ armed: await listArmedFaults(sql), points }));

  app.put("/", async (c) => {
    const { faults } = parseOr400(bodySchema, await readJson(c), "body");
    await replaceFaults(sql, faults, new Date());
    await headStart();
    return c.json({ armed: await listArmedFaults(sql) });
  });

  return app;
}

/** Waits until every process has heard of what was armed just now. */
export function headStart(): Promise<void> {
  return delay(HEAD_START_MS);
}

function faultsSchema(consumers: readonly string[]): Schema<{ faults: Fault[] }> {
  const fault = z.strictObject({
    point: faultPointSchema,
    times: z.int({ error: "must be a whole number from 1 to 1000" }).min(1).max(1000).default(1),
    consumer: z.enum(consumers, { error: `must be one of ${consumers.join(", ")}` }).nullable().default(null),
    correlationId: correlationIdSchema.nullable().default(null),
    delayMs: z.int({ error: `must be a whole number from 0 to ${MAX_DELAY_MS}` }).min(0).max(MAX_DELAY_MS)
      .nullable().default(null),
  }).superRefine(({ point, consumer, delayMs }, context) => {
    const refuse = (path: string, message: string) =>
      context.addIssue({ code: "custom", path: [path], message });
    if (consumer !== null && !FAULT_POINTS[point].perConsumer) {
      refuse("consumer", `${point} takes no consumer`);
    }
    if (delayMs !== null && FAULT_POINTS[point].delayMs === null) {
      refuse("delayMs", `${point} takes no delay`);
    }
  });
  return z.strictObject({ faults: z.array(fault).max(MAX_FAULTS) });
}
