/**
 * Every process has its task in deno.json and its service in docker-compose.yml, with its own permission set.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { parse } from "yaml";
import { z } from "zod";
import { API, CONSUMERS, RELAY } from "../workers/dev/processes.ts";

const read = (path: string) => Deno.readTextFileSync(new URL(`../${path}`, import.meta.url));
const WORKERS = [RELAY, ...CONSUMERS];

Deno.test("every worker has a task that runs its script under its permission set, and no task has no worker", () => {
  const { tasks } = z.object({ tasks: z.record(z.string(), z.object({ command: z.string() })) })
    .parse(JSON.parse(read("deno.json")));
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

Deno.test("every process has a service that runs it under its permission set, and its packages are installed", () => {
  const { services } = z.object({
    services: z.record(z.string(), z.object({ command: z.unknown().optional() })),
  })
    .parse(parse(read("docker-compose.yml"), { merge: true }));
  for (const { name, entry, permissions } of [API, ...WORKERS]) {
    assertEquals(
      services[name]?.command,
      [`-P=${permissions}`, entry],
      `the service ${name} of docker-compose.yml`,
    );
  }
  const installed = z.array(z.string()).parse(services.install?.command);
  assertEquals(installed.toSorted(), [API, ...WORKERS].map(({ entry }) => entry).toSorted());
});
