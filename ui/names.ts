/**
 * The names that filters offer. Their modules hold them beside schemas, which would cost the browser all of zod: the bundle
 * gets the lists alone in place of this file (`ui/bundle.ts`).
 *
 * @module
 */
import { EVENT_TYPES } from "../shared/events.ts";
import { LETTER_REASONS } from "../shared/ops/answers.ts";

/** Every type of event, and every reason that consumers give up for. */
export const NAMES: { readonly types: readonly string[]; readonly reasons: readonly string[] } = {
  types: EVENT_TYPES,
  reasons: LETTER_REASONS,
};
