/**
 * The names that filters offer. Their module holds them beside schemas, which would cost the browser all of zod: the bundle
 * gets the list alone in place of this file (`ui/bundle.ts`).
 *
 * @module
 */
import { EVENT_TYPES } from "../shared/events.ts";

/** Every type of event. */
export const NAMES: { readonly types: readonly string[] } = { types: EVENT_TYPES };
