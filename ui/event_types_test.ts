import { assertEquals } from "@std/assert";
import { EVENT_TYPES } from "../shared/events.ts";
import { EVENT_TYPE_NAMES } from "./event_types.ts";

Deno.test("the filters offer every event type of the catalogue", () => {
  assertEquals([...EVENT_TYPE_NAMES].sort(), [...EVENT_TYPES].sort());
});
