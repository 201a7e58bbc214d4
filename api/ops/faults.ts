/**
 * The routes under `/ops/faults`: what is armed, and arming it. They exist only where `FAULTS_ENABLED` is on.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { correlationIdSchema } from "../../shared/events.ts";
import { armedSchema, faultsSchema } from "../../shared/ops/answers.ts";
import {
  armFaults,
  disarmFault,
  FAULT_POINTS,
  faultPointSchema,
  listArmedFaults,
  replaceFaults,
} from "../../shared/ops/faults.ts";
import { transaction } from "../../shared/sql/connect.ts";
import type { Topology } from "../../shared/topology.ts";
import { type App, HttpProblem, nothingAt, type RequestContext } from "../http.ts";
import { json, route, routes } from "../openapi/route.ts";
import type { OpsDeps } from "./operations.ts";

/** Faults in one request at most. */
const MAX_FAULTS = 100;
/** The longest delay that can be asked for, in milliseconds. */
const MAX_DELAY_MS = 60_000;
/**
 * How long an answer waits behind what it armed, in milliseconds: the processes hear of it by a notification, and what
 * is asked for next should not overtake that.
 */
const HEAD_START_MS = 100;

/** Shows what is armed, arms and disarms. */
export function faultRoutes(
  { opsSql: sql, record }: Pick<OpsDeps, "opsSql" | "record">,
  topology: Topology,
): App {
  const fault = faultSchema(Object.values(topology.queues).map(({ name }) => name));
  const points = Object.entries(FAULT_POINTS).map(([point, spec]) => ({ point, ...spec }));
  return routes(
    "Faults",
    route("GET /", "listFaults", "What is armed, and the points there are", {
      answers: [json(200, "What is armed, in the order in which it strikes.", faultsSchema)],
      handle: async () => ({ armed: await listArmedFaults(sql), points }),
    }),
    route("POST /", "armFault", "Arm one fault beside those there are", {
      body: {
        schema: fault,
        examples: {
          crash: {
            summary: "A consumer ends in the middle",
            value: { point: "consumer.crash-before-commit" },
          },
        },
      },
      answers: [json(201, "What is armed now.", armedSchema)],
      handle: async ({ c, body }) => {
        const fault = await body();
        await transaction(sql, async (tx) => {
          await armFaults(tx, [fault], new Date());
          await record(tx, c, { action: "arm fault", subject: fault });
        });
        await headStart();
        return { armed: await listArmedFaults(sql) };
      },
    }),
    route("POST /:id/disarm", "disarmFault", "Take one fault away", {
      id: "fault",
      answers: [json(200, "What is armed now.", armedSchema)],
      handle: async ({ c, id }) => {
        await transaction(sql, async (tx) => {
          if (!await disarmFault(tx, id)) {
            throw new HttpProblem(404, "There is no such fault: it has struck, or was taken away.");
          }
          await record(tx, c, { action: "disarm fault", subject: { id } });
        });
        await headStart();
        return { armed: await listArmedFaults(sql) };
      },
    }),
    route("PUT /", "putFaults", "Arm faults in the place of all there are, but for those of scenarios", {
      description:
        "What is read, changed and put back arms again what has struck meanwhile: better arm and disarm.",
      body: {
        schema: z.strictObject({ faults: z.array(fault).max(MAX_FAULTS) }),
        examples: {
          crash: {
            summary: "A consumer ends in the middle, twice",
            value: { faults: [{ point: "consumer.crash-before-commit", times: 2 }] },
          },
          none: { summary: "Nothing is armed any more", value: { faults: [] } },
        },
      },
      answers: [json(200, "What is armed now.", armedSchema)],
      handle: async ({ c, body }) => {
        const { faults } = await body();
        await transaction(sql, async (tx) => {
          await replaceFaults(tx, faults, new Date());
          await record(tx, c, { action: "replace faults", subject: { faults } });
        });
        await headStart();
        return { armed: await listArmedFaults(sql) };
      },
    }),
  );
}

function faultSchema(consumers: readonly string[]) {
  return z.strictObject({
    point: faultPointSchema.meta({ description: "Where it is to strike." }),
    times: z.int({ error: "must be a whole number from 1 to 1000" }).min(1).max(1000).default(1)
      .meta({ description: "How often." }),
    consumer: z.enum(consumers, { error: `must be one of ${consumers.join(", ")}` }).nullable().default(null)
      .meta({ description: "Only at this consumer; null for any." }),
    correlationId: correlationIdSchema.nullable().default(null)
      .meta({ description: "Only at what has this correlation id; null for any." }),
    delayMs: z.int({ error: `must be a whole number from 0 to ${MAX_DELAY_MS}` }).min(0).max(MAX_DELAY_MS)
      .nullable().default(null)
      .meta({ description: "The delay in milliseconds; null for the point's own." }),
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
}

/** The 404 of what is there only where `FAULTS_ENABLED` is on. */
export function faultsAreOff(c: RequestContext): HttpProblem {
  return nothingAt(
    c,
    " Faults are switched off: set FAULTS_ENABLED=true, in .env for example, and start the system again.",
  );
}

/** Waits until every process has heard of what was armed just now. */
export async function headStart(): Promise<void> {
  await delay(HEAD_START_MS);
}
