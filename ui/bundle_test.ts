import { assert, assertEquals, assertRejects } from "@std/assert";
import { fileURLToPath } from "node:url";
import { bundlePage } from "./bundle.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** What the island may weigh, gzipped, in bytes. */
const MAX_SCRIPT_BYTES = 32 * 1024;

/** The compiler is told to end its process, and cannot be waited for: it may outlive the test by a moment. */
const outlived = { sanitizeOps: false, sanitizeResources: false };

/** A project of links to this one's sources, with a `ui/dist` of its own. */
async function copyOfProject(): Promise<string> {
  const root = await Deno.makeTempDir();
  await Deno.mkdir(`${root}/ui`);
  for (const name of ["deno.json", "shared"]) await Deno.symlink(`${ROOT}${name}`, `${root}/${name}`);
  for await (const { name } of Deno.readDir(`${ROOT}ui`)) {
    if (name !== "dist") await Deno.symlink(`${ROOT}ui/${name}`, `${root}/ui/${name}`);
  }
  return root;
}

Deno.test(
  "bundlePage() writes the files that assets.json names, the island below 32 KB gzipped",
  outlived,
  async () => {
    const root = await copyOfProject();
    try {
      const bundle = await bundlePage(root);
      assert(bundle.scriptGzipBytes < MAX_SCRIPT_BYTES, `the island has ${bundle.scriptGzipBytes} bytes`);
      const assets = JSON.parse(await Deno.readTextFile(`${root}/ui/dist/assets.json`));
      assertEquals(assets, { script: bundle.script, styles: bundle.styles });
      assert(/^island-\w+\.js$/.test(bundle.script) && /^styles-\w+\.css$/.test(bundle.styles));
      const styles = await Deno.readTextFile(`${root}/ui/dist/${bundle.styles}`);
      assert(!/https?:|@import/.test(styles), "the styles fetch something");
      const reference = Array.from(Deno.readDirSync(`${root}/ui/dist/docs`), ({ name }) => name).sort();
      assertEquals(reference, ["index.html", "reference.js", "swagger-ui-bundle.js", "swagger-ui.css"]);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  },
);

Deno.test(
  "bundlePage() gives the same names to the same sources, and leaves nothing else behind",
  outlived,
  async () => {
    const root = await copyOfProject();
    try {
      const first = await bundlePage(root);
      await Deno.writeTextFile(`${root}/ui/dist/island-OLD.js`, "");
      const second = await bundlePage(root);
      assertEquals(first, second);
      const names = Array.from(Deno.readDirSync(`${root}/ui/dist`), ({ name }) => name).sort();
      assertEquals(names, ["assets.json", "docs", second.script, second.styles].sort());
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  },
);

Deno.test(
  "bundlePage() throws at sources that do not compile, and leaves the last bundle alone",
  outlived,
  async () => {
    const root = await copyOfProject();
    try {
      const { script } = await bundlePage(root);
      await Deno.remove(`${root}/ui/island.tsx`);
      await Deno.writeTextFile(`${root}/ui/island.tsx`, "const = 1;");
      await assertRejects(() => bundlePage(root), Error);
      assertEquals(JSON.parse(await Deno.readTextFile(`${root}/ui/dist/assets.json`)).script, script);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  },
);
