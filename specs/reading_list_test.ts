/**
 * The README's reading list: short enough for one sitting, and true.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { sectionOf } from "./support/markdown.ts";

const MAX_FILES = 13;
/** Source lines of all files together, comments included. */
const MAX_LINES = 1800;

const root = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, root));
const items = sectionOf(read("README.md"), "Read it in thirty minutes").match(/^\d+\. .+$/gm) ?? [];
const files = items.map((item) => /^\d+\. `([^`]+)`: \S.+\?$/.exec(item)?.[1] ?? item);

Deno.test("the reading list names files that are there, each once and with one question", () => {
  assert(files.length > 0 && files.length <= MAX_FILES, `there are ${files.length} files`);
  assertEquals(new Set(files).size, files.length);
  for (const file of files) read(file);
});

Deno.test("the reading list can be read in one sitting", () => {
  const lines = files.map((file) => ({ file, lines: read(file).trimEnd().split("\n").length }));
  const all = lines.reduce((sum, { lines }) => sum + lines, 0);
  const table = lines.map(({ file, lines }) => `${file} ${lines}`).join(", ");
  assert(all <= MAX_LINES, `the files have ${all} lines, ${MAX_LINES} at most: ${table}`);
});
