/**
 * The names of the event types, for filters. `shared/events.ts` has them with their schemas, which would cost the browser
 * all of zod: the bundle gets a list of the names in place of this file (`ui/bundle.ts`).
 *
 * @module
 */
import { EVENT_TYPES, type EventType } from "../shared/events.ts";

/** Every event type, in the order in which an order meets them. */
export const EVENT_TYPE_NAMES: readonly EventType[] = EVENT_TYPES;
