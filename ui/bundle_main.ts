/**
 * `deno task ui:bundle`: bundles the page's script and styles into `ui/dist`, or into the folder that is named.
 *
 * @module
 */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { bundlePage } from "./bundle.ts";

if (import.meta.main) {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const [dist = "ui/dist"] = Deno.args;
  const { script, styles, scriptGzipBytes } = await bundlePage(root, resolve(root, dist));
  console.log(`${dist}: ${script} (${(scriptGzipBytes / 1024).toFixed(1)} KB gzipped), ${styles}`);
}
