/**
 * The routes under `/ops/faults`: what is armed, and arming it. They exist only where `FAULTS_ENABLED` is on.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { Hono } from "hono";
import type { Topology } from "../../shared/topology.ts";
import { FAULT_POINTS, listArmedFaults, replaceFaults } from "../../shared/ops/faults.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import type { App, CorrelationEnv } from "../correlation.ts";
import { describeRoutes } from "../openapi/describe.ts";
import { listFaults, putFaults, putSchema } from "./faults_contract.ts";
import { parseOr400 } from "../http.ts";
import { readJson } from "../read_json.ts";

/**
 * How long an answer waits behind what it armed, in milliseconds: the processes hear of it by a notification, and what
 * is asked for next should not overtake that.
 */
const HEAD_START_MS = 100;

/** Shows and replaces what is armed. `sql` is of the role that may. */
export function faultRoutes(sql: Sql, topology: Topology): App {
  const app = new Hono<CorrelationEnv>();
  const bodySchema = putSchema(Object.values(topology.queues).map(({ name }) => name));
  const points = Object.entries(FAULT_POINTS).map(([point, spec]) => ({ point, ...spec }));

  app.get("/", async (c) => c.json({ armed: await listArmedFaults(sql), points }));

  app.put("/", async (c) => {
    const { faults } = parseOr400(bodySchema, await readJson(c), "body");
    await replaceFaults(sql, faults, new Date());
    await headStart();
    return c.json({ armed: await listArmedFaults(sql) });
  });

  return describeRoutes(app, { "GET /": listFaults, "PUT /": () => putFaults(bodySchema) });
}

/** Waits until every process has heard of what was armed just now. */
export function headStart(): Promise<void> {
  return delay(HEAD_START_MS);
}
