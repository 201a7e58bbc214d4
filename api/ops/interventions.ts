// The routes under `/ops/faults` and `/ops/holds`: what an operator does to the machine on purpose. Faults, and the seams
// inside of relay and consumers that can be held, exist only where `FAULTS_ENABLED` is on.

import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { correlationIdSchema } from "../../shared/events.ts";
import { armedSchema, faultsSchema, heldSchema, holdsSchema } from "../../shared/ops/answers.ts";
import {
  armFaults,
  disarmFault,
  FAULT_POINTS,
  faultPointSchema,
  listArmedFaults,
} from "../../shared/ops/faults.ts";
import {
  BEFORE_MARK,
  beforeCommit,
  grantStep,
  holdPart,
  isInner,
  listHolds,
  partsOf,
  RELAY_PART,
  resumePart,
} from "../../shared/ops/holds.ts";
import { type Transaction, transaction } from "../../shared/sql/connect.ts";
import type { Topology } from "../../shared/topology.ts";
import { type App, HttpProblem, nothingAt, type RequestContext } from "../http.ts";
import { json, type Parameter, route, routes } from "../openapi/route.ts";
import type { Operation, OpsDeps } from "./operations.ts";

/**
 * How long an answer waits behind what it armed, in milliseconds: the processes hear of it by a notification, and what
 * is asked for next should not overtake that.
 */
const HEAD_START_MS = 100;

/** Waits until every process has heard of what was armed or held just now. */
export async function headStart(): Promise<void> {
  await delay(HEAD_START_MS);
}

/**
 * Makes what changes something and records that, in one transaction, and answers with what `list` finds once every process
 * has heard of it. Where the change answers with false there was nothing to change, and nothing is recorded.
 */
function changing<T>({ opsSql, record }: Pick<OpsDeps, "opsSql" | "record">, list: () => Promise<T>) {
  return async (
    c: RequestContext,
    operation: Operation,
    change: (tx: Transaction) => Promise<boolean | void>,
  ): Promise<T> => {
    await transaction(opsSql, async (tx) => {
      if (await change(tx) !== false) await record(tx, c, operation);
    });
    await headStart();
    return await list();
  };
}

/** Faults in one request at most. */
const MAX_FAULTS = 100;
/** The longest delay that can be asked for, in milliseconds. */
const MAX_DELAY_MS = 60_000;

/** Shows what is armed, arms and disarms. */
export function faultRoutes(deps: Pick<OpsDeps, "opsSql" | "record">, topology: Topology): App {
  const list = async () => ({ armed: await listArmedFaults(deps.opsSql) });
  const change = changing(deps, list);
  const fault = faultSchema(Object.values(topology.queues).map(({ name }) => name));
  const points = Object.entries(FAULT_POINTS).map(([point, spec]) => ({ point, ...spec }));
  return routes(
    "Faults",
    route("GET /", "listFaults", "What is armed, and the points there are", {
      answers: [json(200, "What is armed, in the order in which it strikes.", faultsSchema)],
      handle: async () => ({ ...await list(), points }),
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
        const operation = { action: "arm fault", subject: fault };
        return await change(c, operation, (tx) => armFaults(tx, [fault], new Date()));
      },
    }),
    route("POST /:id/disarm", "disarmFault", "Take one fault away", {
      id: "fault",
      answers: [json(200, "What is armed now.", armedSchema)],
      handle: ({ c, id }) =>
        change(c, { action: "disarm fault", subject: { id } }, async (tx) => {
          if (await disarmFault(tx, id)) return;
          throw new HttpProblem(404, "There is no such fault: it has struck, or was taken away.");
        }),
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
        const operation = { action: "replace faults", subject: { faults } };
        return await change(c, operation, (tx) => armFaults(tx, faults, new Date(), { replacing: true }));
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

/** How long a hold lasts by default, in seconds. */
const DEFAULT_SECONDS = 600;
/** And at most: nobody forgets one for longer. */
const MAX_SECONDS = 3600;

const SECONDS_ERROR = `must be a whole number from 1 to ${MAX_SECONDS}`;
const REASON_ERROR = "must have 1 to 500 characters, and no NUL";

const holdSchema = z.strictObject({
  forSeconds: z.int({ error: SECONDS_ERROR }).min(1).max(MAX_SECONDS).default(DEFAULT_SECONDS)
    .meta({ description: "When it goes on by itself, in seconds from now." }),
  because: z.string({ error: REASON_ERROR }).trim().min(1, REASON_ERROR).max(500, REASON_ERROR)
    .regex(/^[^\0]*$/, REASON_ERROR).nullable().default(null)
    .meta({ description: "Why, for whoever wonders." }),
});

const PART: Parameter = {
  name: "part",
  in: "path",
  description: `\`${RELAY_PART}\`, a queue, \`${BEFORE_MARK}\`, or \`${beforeCommit("<queue>")}\`.`,
  required: true,
  schema: { type: "string" },
  example: RELAY_PART,
};
const NO_PART = { 404: "There is no such part." };

/** Shows what is held, holds, steps and resumes. */
export function holdRoutes(deps: Pick<OpsDeps, "opsSql" | "bindings" | "faults" | "record">): App {
  const list = async () => ({ holds: await listHolds(deps.opsSql) });
  const change = changing(deps, list);
  const all = partsOf([...new Set(deps.bindings.map(({ consumer }) => consumer))]);
  const open = deps.faults ? all : all.filter((part) => !isInner(part));

  function partOf(c: RequestContext): string {
    const part = c.req.param("part") ?? "";
    if (open.includes(part)) return part;
    throw all.includes(part)
      ? new HttpProblem(409, `${part} can be held only where faults are on: set FAULTS_ENABLED=true.`)
      : new HttpProblem(404, `There is no part ${part}. The parts are ${open.join(", ")}.`);
  }

  const ofPart = { parameters: [PART], answers: [json(200, "What is held now.", heldSchema)] } as const;
  return routes(
    "Holds",
    route("GET /", "listHolds", "What is held, and what can be", {
      answers: [json(200, "What is held.", holdsSchema)],
      handle: async () => ({ ...await list(), parts: open }),
    }),
    route("PUT /:part", "holdPart", "Hold a part of the machine", {
      description:
        "A held relay claims nothing, a held consumer takes nothing: in every copy, and after a restart.",
      ...ofPart,
      body: {
        schema: holdSchema,
        optional: true,
        examples: {
          look: { summary: "For five minutes", value: { forSeconds: 300, because: "to look at the queue" } },
        },
      },
      refusals: { ...NO_PART, 409: "It is a seam, and faults are off." },
      handle: async ({ c, body }) => {
        const part = partOf(c);
        const { forSeconds, because } = await body();
        const operation = { action: "hold", subject: { part, forSeconds }, because };
        return await change(c, operation, (tx) => holdPart(tx, { part, forSeconds, because }));
      },
    }),
    route("POST /:part/step", "stepPart", "Let one event through a held part", {
      description: "The next one, where none is there yet. At a seam: one transaction.",
      ...ofPart,
      refusals: { ...NO_PART, 409: "It is not held." },
      handle: async ({ c }) => {
        const part = partOf(c);
        return await change(c, { action: "step", subject: { part } }, async (tx) => {
          if (await grantStep(tx, part)) return;
          throw new HttpProblem(409, `${part} is not held: hold it first, with PUT /ops/holds/${part}.`);
        });
      },
    }),
    route("DELETE /:part", "resumePart", "Have a held part go on", {
      description: "Changes nothing where it is not held.",
      ...ofPart,
      refusals: { ...NO_PART, 409: "It is a seam, and faults are off." },
      handle: async ({ c }) => {
        const part = partOf(c);
        return await change(c, { action: "resume", subject: { part } }, (tx) => resumePart(tx, part));
      },
    }),
  );
}
