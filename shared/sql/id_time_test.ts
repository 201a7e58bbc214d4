import { assertEquals } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { firstIdOf, timeOfId } from "./id_time.ts";

Deno.test("firstIdOf() lies between the ids of before and after its instant", () => {
  const instant = new Date("2026-01-02T03:04:05.678Z");
  const before = uuidv7({ msecs: instant.getTime() - 1 });
  const after = uuidv7({ msecs: instant.getTime() });
  assertEquals([before < firstIdOf(instant), firstIdOf(instant) <= after], [true, true]);
});

Deno.test("timeOfId() tells when an id was made", () => {
  const instant = new Date("2026-01-02T03:04:05.678Z");
  assertEquals(timeOfId(uuidv7({ msecs: instant.getTime() })), instant);
  assertEquals(timeOfId(firstIdOf(instant)), instant);
});
