import { assert, assertEquals, assertRejects } from "@std/assert";
import { fileURLToPath } from "node:url";
import { bundlePage } from "./bundle.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** What the island may weigh, gzipped, in bytes. */
const MAX_SCRIPT_BYTES = 32 * 1024;

/** A project of links to this one's sources, with a `ui/dist` of its own. */
async function copyOfProject() {
  const root = await Deno.makeTempDir();
  await Deno.mkdir(`${root}/ui`);
  for (const name of ["deno.json", "shared"]) await Deno.symlink(`${ROOT}${name}`, `${root}/${name}`);
  for await (const { name } of Deno.readDir(`${ROOT}ui`)) {
    if (name !== "dist") await Deno.symlink(`${ROOT}ui/${name}`, `${root}/ui/${name}`);
  }
  return { root, [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }) };
}

Deno.test({
  name:
    "bundlePage() writes what assets.json names and nothing else, always alike, or leaves the last bundle alone",
  // The compiler is told to end its process, and cannot be waited for: it may outlive the test by a moment.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await using copy = await copyOfProject();
    const dist = `${copy.root}/ui/dist`;
    const namesIn = (folder: string) => Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
    const readAssets = async () => JSON.parse(await Deno.readTextFile(`${dist}/assets.json`));
    const first = await bundlePage(copy.root);
    assert(first.scriptGzipBytes < MAX_SCRIPT_BYTES, `the island has ${first.scriptGzipBytes} bytes`);
    const { script, styles } = first;
    assertEquals(await readAssets(), { script, styles });
    assert(/^island-\w+\.js$/.test(script) && /^styles-\w+\.css$/.test(styles));
    const fetching = /https?:|@import/.test(await Deno.readTextFile(`${dist}/${styles}`));
    assert(!fetching, "the styles fetch something");
    const reference = ["index.html", "reference.js", "swagger-ui-bundle.js", "swagger-ui.css"];
    assertEquals(namesIn(`${dist}/docs`), reference);

    await Deno.writeTextFile(`${dist}/island-OLD.js`, "");
    assertEquals(await bundlePage(copy.root), first);
    assertEquals(namesIn(dist), ["assets.json", "docs", script, styles].sort());

    await Deno.remove(`${copy.root}/ui/island.tsx`);
    await Deno.writeTextFile(`${copy.root}/ui/island.tsx`, "const = 1;");
    await assertRejects(() => bundlePage(copy.root), Error);
    assertEquals(await readAssets(), { script, styles });
  },
});
