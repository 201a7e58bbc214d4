/**
 * `deno task ui:bundle`: bundles the page's script and styles into `ui/dist`.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { bundlePage } from "./bundle.ts";

if (import.meta.main) {
  const { script, styles, scriptGzipBytes } = await bundlePage(fileURLToPath(new URL("..", import.meta.url)));
  console.log(`ui/dist: ${script} (${(scriptGzipBytes / 1024).toFixed(1)} KB gzipped), ${styles}`);
}
