import { assertEquals } from "@std/assert";
import { join, relative } from "node:path";
import { eventually } from "../../specs/support/eventually.ts";
import { API, RELAY } from "./processes.ts";
import { childEnvironment } from "./child.ts";
import { bundlePage, watchSources } from "./watch_sources.ts";

Deno.test("bundlePage() bundles into the folder that UI_BUNDLE_DIR names", async () => {
  const folder = await Deno.makeTempDir({ prefix: "orderflow_dev_test_" });
  const env = childEnvironment(Deno.env.toObject(), { UI_BUNDLE_DIR: folder });
  assertEquals(await bundlePage(env), null);
  assertEquals((await Deno.stat(join(folder, "assets.json"))).isFile, true);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("watchSources() tells which processes a changed file belongs to, follows new imports, and tells of the page", async () => {
  const root = await Deno.realPath(await Deno.makeTempDir({ prefix: "orderflow_dev_test_" }));
  const write = (path: string, text: string) => Deno.writeTextFile(join(root, path), text);
  for (const folder of ["api", "workers", "shared", "shared/ops", "ui", "ui/dist"]) {
    await Deno.mkdir(join(root, folder));
  }
  await write("shared/a.ts", "export const a = 1;");
  await write("shared/b.sql", "select 1;");
  await write("api/main.ts", 'import "../shared/a.ts";');
  await write("workers/outbox_relay.ts", "export const relay = 1;");
  const stop = new AbortController();
  const seen = new Set<string>();
  const watching = watchSources({
    root,
    specs: [API, RELAY],
    stop: stop.signal,
    onPage: () => Promise.resolve(void seen.add("the page")),
    onChange: (specs, changed) =>
      void seen.add(`${specs.map(({ name }) => name)}: ${changed.map((path) => relative(root, path))}`),
  });
  const changeUntilSeen = async (path: string, text: string, expected: string) => {
    seen.delete(expected);
    let tries = 0;
    await eventually(`${path} to be seen`, async () => { // the watch begins at some moment, and a change has to settle
      if (tries++ % 20 === 0) await write(path, `${text} // ${tries}`);
      return seen.has(expected);
    });
  };
  await changeUntilSeen("shared/a.ts", "export const a = 2;", "api: shared/a.ts");
  await changeUntilSeen(
    "workers/outbox_relay.ts",
    'import b from "../shared/b.sql" with { type: "text" }; b;',
    "outbox-relay: workers/outbox_relay.ts",
  );
  await write("ui/dist/island.js", "");
  await changeUntilSeen("shared/b.sql", "select 2;", "outbox-relay: shared/b.sql");
  assertEquals(seen.has("the page"), false, "what is bundled is no source");
  await changeUntilSeen("ui/page.css", "/* changed */", "the page");
  await changeUntilSeen("shared/ops/answers.ts", "export const a = 1;", "the page"); // which reads answers by it
  stop.abort();
  await watching;
  await Deno.remove(root, { recursive: true });
  assertEquals(seen.size, 4, [...seen].join());
});
