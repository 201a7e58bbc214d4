/**
 * The routes under `/ops/holds`: stopping parts of the machine, and having them go on. Relay and consumers can be held
 * anywhere, the seams inside of them only where `FAULTS_ENABLED` is on.
 *
 * @module
 */
import { z } from "zod";
import { heldSchema, holdsSchema } from "../../shared/ops/answers.ts";
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
import { transaction } from "../../shared/sql/connect.ts";
import { type App, HttpProblem, type RequestContext } from "../http.ts";
import { json, type Parameter, route, routes } from "../openapi/route.ts";
import { headStart } from "./faults.ts";
import type { OpsDeps } from "./operations.ts";

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
export function holdRoutes(
  { opsSql: sql, bindings, faults, record }: Pick<OpsDeps, "opsSql" | "bindings" | "faults" | "record">,
): App {
  const all = partsOf([...new Set(bindings.map(({ consumer }) => consumer))]);
  const open = faults ? all : all.filter((part) => !isInner(part));

  function partOf(c: RequestContext): string {
    const part = c.req.param("part") ?? "";
    if (open.includes(part)) return part;
    throw all.includes(part)
      ? new HttpProblem(409, `${part} can be held only where faults are on: set FAULTS_ENABLED=true.`)
      : new HttpProblem(404, `There is no part ${part}. The parts are ${open.join(", ")}.`);
  }

  /** What is held once every process has heard of the change. */
  async function afterwards() {
    await headStart();
    return { holds: await listHolds(sql) };
  }

  return routes(
    "Holds",
    route("GET /", "listHolds", "What is held, and what can be", {
      answers: [json(200, "What is held.", holdsSchema)],
      handle: async () => ({ holds: await listHolds(sql), parts: open }),
    }),
    route("PUT /:part", "holdPart", "Hold a part of the machine", {
      description:
        "A held relay claims nothing, a held consumer takes nothing: in every copy, and after a restart.",
      parameters: [PART],
      body: {
        schema: holdSchema,
        optional: true,
        examples: {
          look: { summary: "For five minutes", value: { forSeconds: 300, because: "to look at the queue" } },
        },
      },
      answers: [json(200, "What is held now.", heldSchema)],
      refusals: { ...NO_PART, 409: "It is a seam, and faults are off." },
      handle: async ({ c, body }) => {
        const part = partOf(c);
        const { forSeconds, because } = await body();
        await transaction(sql, async (tx) => {
          await holdPart(tx, { part, forSeconds, because });
          await record(tx, c, { action: "hold", subject: { part, forSeconds }, because });
        });
        return await afterwards();
      },
    }),
    route("POST /:part/step", "stepPart", "Let one event through a held part", {
      description: "The next one, where none is there yet. At a seam: one transaction.",
      parameters: [PART],
      answers: [json(200, "What is held now.", heldSchema)],
      refusals: { ...NO_PART, 409: "It is not held." },
      handle: async ({ c }) => {
        const part = partOf(c);
        await transaction(sql, async (tx) => {
          if (!await grantStep(tx, part)) {
            throw new HttpProblem(409, `${part} is not held: hold it first, with PUT /ops/holds/${part}.`);
          }
          await record(tx, c, { action: "step", subject: { part } });
        });
        return await afterwards();
      },
    }),
    route("DELETE /:part", "resumePart", "Have a held part go on", {
      description: "Changes nothing where it is not held.",
      parameters: [PART],
      answers: [json(200, "What is held now.", heldSchema)],
      refusals: { ...NO_PART, 409: "It is a seam, and faults are off." },
      handle: async ({ c }) => {
        const part = partOf(c);
        await transaction(sql, async (tx) => {
          if (await resumePart(tx, part)) await record(tx, c, { action: "resume", subject: { part } });
        });
        return await afterwards();
      },
    }),
  );
}
