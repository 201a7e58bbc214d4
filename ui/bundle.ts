// `deno task ui:bundle`: bundles the page's script and styles into `ui/dist`, or into the folder that is named, and lays the
// API reference beside them, once, before anything serves them.

import { build, type OutputFile, type Plugin, stop } from "esbuild";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import swaggerFolder from "swagger-ui-dist/absolute-path.js";

/**
 * Bundles `ui/island.tsx` and `ui/styles/page.css` below `root`, the project's folder, into the folder `dist`: both with
 * a hash of their content in the name, then `assets.json` (`{script, styles}`, file names), which makes the bundle the
 * one that is served. What an earlier bundle left is removed. The files of the API reference are copied to its folder
 * `docs`. Answers with the two names, and how many bytes the script has when it is sent, gzipped.
 *
 * Errors: where the sources do not compile, as esbuild tells it.
 */
export async function bundlePage(root: string, dist = `${root}/ui/dist`) {
  const outputFiles = await compile(root);
  const fileOf = (extension: string) => {
    const file = outputFiles.find(({ path }) => path.endsWith(extension));
    if (!file) throw new Error(`The bundle has no ${extension} file: esbuild wrote none for its entry.`);
    return { name: file.path.slice(file.path.lastIndexOf("/") + 1), contents: file.contents };
  };
  const [script, styles] = [fileOf(".js"), fileOf(".css")];
  const names = { script: script.name, styles: styles.name };
  const assets = { name: "assets.json", contents: new TextEncoder().encode(JSON.stringify(names)) };
  const files = [script, styles, ...await readReference(root), assets];
  await Deno.mkdir(`${dist}/docs`, { recursive: true });
  for (const { name, contents } of files) await replaceFile(dist, name, contents);
  await removeOthers(dist, files.map(({ name }) => name));
  return { ...names, scriptGzipBytes: gzipSync(script.contents).byteLength };
}

async function compile(root: string): Promise<readonly OutputFile[]> {
  try {
    const { outputFiles } = await build({
      absWorkingDir: root,
      entryPoints: { island: "ui/island.tsx", styles: "ui/styles/page.css" },
      outdir: "dist", // nothing is written there
      entryNames: "[name]-[hash]",
      bundle: true,
      minify: true,
      write: false,
      format: "esm",
      target: ["chrome110", "firefox115", "safari16.4"],
      jsx: "automatic",
      jsxImportSource: "preact",
      plugins: [packages],
      define: { "process.env.NODE_ENV": '"production"' },
      logLevel: "silent",
    });
    return outputFiles;
  } finally {
    await stop(); // its process would stay
  }
}

/** Finds packages as Deno does: they may be in its cache, where there is no `node_modules`. */
const packages: Plugin = {
  name: "packages",
  setup({ onResolve }) {
    onResolve({ filter: /^[@a-z]/ }, ({ path, kind }) => {
      return kind === "entry-point" ? null : { path: fileURLToPath(import.meta.resolve(path)) };
    });
  },
};

/** The files of the API reference: this project's own, and Swagger UI's. */
async function readReference(root: string) {
  const own = ["index.html", "reference.js"].map((name) => `${root}/ui/reference/${name}`);
  const others = ["swagger-ui.css", "swagger-ui-bundle.js"].map((name) => `${swaggerFolder()}/${name}`);
  return await Promise.all([...own, ...others].map(async (path) => {
    return { name: `docs/${path.slice(path.lastIndexOf("/") + 1)}`, contents: await Deno.readFile(path) };
  }));
}

/** Whoever reads the file meanwhile finds the old one or the new one, never half of it. */
async function replaceFile(folder: string, name: string, contents: Uint8Array): Promise<void> {
  const temporary = `${folder}/.${crypto.randomUUID()}`;
  await Deno.writeFile(temporary, contents);
  await Deno.rename(temporary, `${folder}/${name}`);
}

/** Two bundlers at once may both want to remove a file. */
async function removeOthers(folder: string, keep: readonly string[]): Promise<void> {
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (!isFile || keep.includes(name) || name.startsWith(".")) continue;
    await Deno.remove(`${folder}/${name}`).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

if (import.meta.main) {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const [dist = "ui/dist"] = Deno.args;
  if (dist.startsWith("-")) {
    console.log(
      "deno task ui:bundle: bundles the page's script and styles, and the reference, into ui/dist.",
    );
    Deno.exit(dist === "--help" ? 0 : 64);
  }
  const { script, styles, scriptGzipBytes } = await bundlePage(root, resolve(root, dist));
  console.log(`${dist}: ${script} (${(scriptGzipBytes / 1024).toFixed(1)} KB gzipped), ${styles}`);
}
