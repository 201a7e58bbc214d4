import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { API, RELAY } from "./processes.ts";
import { readGraph, watchSources } from "./watch_sources.ts";

const ROOT = join(import.meta.dirname ?? "", "../..");

Deno.test("readGraph() tells what each process imports, SQL files included", async () => {
  const graph = await readGraph([API, RELAY], ROOT);
  const affected = (path: string) =>
    [...graph].filter(([, files]) => files.has(join(ROOT, path))).map(([{ name }]) => name);
  assertEquals(affected("api/app.ts"), ["api"]);
  assertEquals(affected("workers/relay/relay.ts"), ["outbox-relay"]);
  assertEquals(affected("shared/process/config.ts"), ["api", "outbox-relay"]);
  assertEquals(affected("shared/sql/migrations/001_tables.sql"), ["api", "outbox-relay"]);
  assertEquals(affected("workers/dev/main.ts"), []);
  assertEquals(
    [...graph.values()].some((files) => [...files].some((path) => path.includes("node_modules"))),
    false,
  );
});

Deno.test("watchSources() tells which processes a changed file belongs to, follows new imports, and tells of the page", async () => {
  const root = await Deno.realPath(await Deno.makeTempDir({ prefix: "orderflow_dev_test_" }));
  const write = (path: string, text: string) => Deno.writeTextFile(join(root, path), text);
  for (const folder of ["api", "workers", "shared", "shared/ops", "ui", "ui/dist"]) {
    await Deno.mkdir(join(root, folder));
  }
  await write("shared/a.ts", "export const a = 1;");
  await write("shared/b.ts", "export const b = 1;");
  await write("api/main.ts", 'import "../shared/a.ts";');
  await write("workers/outbox_relay.ts", "export const relay = 1;");
  const stop = new AbortController();
  const seen: string[] = [];
  let next = Promise.withResolvers<void>();
  const watching = watchSources({
    root,
    specs: [API, RELAY],
    stop: stop.signal,
    onPage: () => {
      seen.push("the page");
      next.resolve();
      return Promise.resolve();
    },
    onChange: (specs, changed) => {
      seen.push(`${specs.map(({ name }) => name)}: ${changed.map((path) => path.slice(root.length + 1))}`);
      next.resolve();
    },
  });
  const changeUntilSeen = async (path: string, text: string) => {
    next = Promise.withResolvers();
    for (let tries = 0, done = false; !done && tries < 100; tries++) { // the watch begins at some moment
      await write(path, `${text} // ${tries}`);
      done = await settlesWithin(300, next.promise);
    }
  };
  await changeUntilSeen("shared/a.ts", "export const a = 2;");
  await changeUntilSeen("workers/outbox_relay.ts", 'import "../shared/b.ts";');
  await changeUntilSeen("shared/b.ts", "export const b = 2;");
  await write("ui/dist/island.js", "");
  await changeUntilSeen("ui/page.css", "/* changed */");
  const before = seen.length;
  await changeUntilSeen("shared/ops/answers.ts", "export const a = 1;"); // the page reads answers by it
  assertEquals(seen.slice(before).includes("the page"), true);
  stop.abort();
  await watching;
  await Deno.remove(root, { recursive: true });
  assertEquals([...new Set(seen)], [
    "api: shared/a.ts",
    "outbox-relay: workers/outbox_relay.ts",
    "outbox-relay: shared/b.ts",
    "the page",
  ]);
});

async function settlesWithin(ms: number, promise: Promise<void>): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), ms);
  const inTime = await Promise.race([promise.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}
