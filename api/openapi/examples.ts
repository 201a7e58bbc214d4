/**
 * The ids in the examples of the API's description; a test makes what they name, and sends the examples.
 *
 * @module
 */

/** Ids by what they name. */
export const EXAMPLE_IDS = {
  order: "01a20441-ae89-7222-9369-984124b51d7d",
  event: "01a20441-ae89-7222-9369-9d1452524b8d",
  deadLetter: "01a20441-b6c4-7a10-8d3e-5f0c7f2b9a64",
  replay: "01a20442-03d5-7c9e-a1b2-3c4d5e6f7081",
} as const;
