/**
 * Writes the JSON Schemas of all events to `specs/event_schemas.json`, for readers in other languages. A test holds the
 * file to the catalogue.
 *
 * @module
 */
import { eventJsonSchemas } from "../shared/events.ts";

if (import.meta.main) {
  const text = JSON.stringify(eventJsonSchemas(), null, 2);
  await Deno.writeTextFile(new URL("event_schemas.json", import.meta.url), `${text}\n`);
}
