/**
 * Every worker has its task in deno.json, with its own permission set; `compose_test.ts` says the same of the services.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { z } from "zod";
import { WORKERS } from "../workers/dev/processes.ts";

Deno.test("every worker has a task that runs its script under its permission set, and no task has no worker", () => {
  const { tasks } = z.object({ tasks: z.record(z.string(), z.object({ command: z.string() })) })
    .parse(JSON.parse(Deno.readTextFileSync(new URL("../deno.json", import.meta.url))));
  const found = Object.entries(tasks).filter(([name]) => name.startsWith("worker:")).map(
    ([name, { command }]) => {
      const words = command.split(" ");
      return [name, words.find((word) => word.startsWith("-P=")), words.at(-1)];
    },
  );
  const wanted = WORKERS.map((
    { name, entry, permissions },
  ) => [`worker:${name}`, `-P=${permissions}`, entry]);
  assertEquals(found.toSorted(), wanted.toSorted());
});
