/**
 * What the routes under `/ops/faults` take and answer.
 *
 * @module
 */
import { z } from "zod";
import { armedSchema, faultsSchema } from "../../shared/ops/answers.ts";
import { correlationIdSchema } from "../../shared/events.ts";
import { type Fault, FAULT_POINTS, faultPointSchema } from "../../shared/ops/faults.ts";
import { BODY_REFUSALS, json, jsonBody, problems } from "../openapi/describe.ts";
import type { Description } from "../openapi/description.ts";

/** Faults in one request at most. */
const MAX_FAULTS = 100;
/** The longest delay that can be asked for, in milliseconds. */
const MAX_DELAY_MS = 60_000;

/** The body of `PUT /ops/faults`, where there are these consumers. */
export function putSchema(consumers: readonly string[]): z.ZodType<{ faults: Fault[] }> {
  const fault = z.strictObject({
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
  return z.strictObject({ faults: z.array(fault).max(MAX_FAULTS) });
}

/** `GET /ops/faults`. */
export const listFaults = (): Description => ({
  operationId: "listFaults",
  tags: ["Faults"],
  summary: "What is armed, and the points there are",
  responses: { 200: json("What is armed, in the order in which it strikes.", faultsSchema) },
});

/** `PUT /ops/faults`. */
export const putFaults = (body: z.ZodType<{ faults: Fault[] }>): Description => ({
  operationId: "putFaults",
  tags: ["Faults"],
  summary: "Arm faults in the place of all there are",
  requestBody: jsonBody(body, {
    crash: {
      summary: "A consumer ends in the middle, twice",
      value: { faults: [{ point: "consumer.crash-before-commit", times: 2 }] },
    },
    none: { summary: "Nothing is armed any more", value: { faults: [] } },
  }),
  responses: {
    200: json("What is armed now.", armedSchema),
    ...problems(BODY_REFUSALS),
  },
});
