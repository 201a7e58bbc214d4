/**
 * Examples of the API's description; a test makes what the ids name, and sends the examples.
 *
 * @module
 */
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";

/** Ids by what they name. */
export const EXAMPLE_IDS = {
  order: "01a20441-ae89-7222-9369-984124b51d7d",
  event: "01a20441-ae89-7222-9369-9d1452524b8d",
  deadLetter: "01a20441-b6c4-7a10-8d3e-5f0c7f2b9a64",
  fault: "01a20442-1b3c-7d2e-9f10-2a3b4c5d6e7f",
  replay: "01a20442-03d5-7c9e-a1b2-3c4d5e6f7081",
} as const;

const NEW_ORDER = { userId: SCENARIO_USER, courseId: RESERVED_COURSES.success, amount: "49.90" };

/** Bodies of `POST /orders`. */
export const NEW_ORDERS = {
  order: { summary: "A course for 49.90", value: NEW_ORDER },
  mistakes: {
    summary: "Two fields at fault: the 400 names both",
    value: { ...NEW_ORDER, userId: "me", amount: "0" },
    "x-status": 400,
  },
};
