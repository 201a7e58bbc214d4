/**
 * Whatever a document points to is there: files, headings, and the code that a lesson shows.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { join, relative } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { anchorsOf, codeOf, linksOf, proseOf, sectionOf } from "./support/markdown.ts";

const NOT_OURS: ReadonlySet<string> = new Set([".git", ".orderflow", "node_modules", "dist"]);
const root = fileURLToPath(new URL("../", import.meta.url));
const read = (path: string) => Deno.readTextFileSync(join(root, path));
const files = filesIn(root);
const documents = files.filter((path) => path.endsWith(".md"));

/** The paths of all files of the project, from its top. */
function filesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
    const path = join(folder, name);
    if (isDirectory) return NOT_OURS.has(name) ? [] : filesIn(path);
    return [relative(root, path)];
  }).toSorted();
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(join(root, path)) !== null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

Deno.test("every link of a document leads to a file that is there, and to a heading in it", () => {
  for (const document of documents) {
    for (const link of linksOf(read(document))) {
      if (/^[a-z]+:/.test(link)) continue; // another site's
      const [path = "", anchor] = link.split("#");
      const target = path === "" ? document : join(document, "..", path);
      assert(isThere(target), `${document} links to ${target}, which does not exist`);
      if (anchor === undefined) continue;
      assert(anchorsOf(read(target)).has(anchor), `${document} links to ${link}: there is no such heading`);
    }
  }
});

Deno.test("every file that a document names is there", () => {
  for (const document of documents) {
    const prose = proseOf(read(document)).replaceAll(/New\s+file\s+`[^`]+`/g, ""); // a recipe's, which are yet to be
    const paths = codeOf(prose).filter((text) =>
      /^[\w.-]+(\/[\w.-]+)*\.(ts|tsx|sql|json|lock|yml|md|sh)$/.test(text)
    );
    for (const path of paths) {
      // From the top, or from any folder on: `horizon.ts` where it is clear which one is meant.
      const found = files.some((file) => file === path || file.endsWith(`/${path}`));
      assert(found, `${document} names ${path}, which does not exist`);
    }
  }
});

Deno.test("the code that a lesson shows is in the file that it names", () => {
  const lessons = documents.filter((path) => /^specs\/lessons\/\d/.test(path));
  assertEquals(lessons.length, 12);
  for (const lesson of lessons) {
    const items = sectionOf(read(lesson), "Where in the code").trim().replaceAll(/\n +/g, " ").split("\n");
    for (const item of items) {
      const [, shown = "", target = "", symbols = ""] =
        /^- \[`([^`]+)`\]\(([^)]+)\), ((?:`[^`]+`(?:, | and )?)+): /.exec(item) ?? [];
      assert(shown, `${lesson}: an item must read "- [\`file\`](link), \`symbol\`: words", not ${item}`);
      assertEquals(join(lesson, "..", target), shown, `${lesson} links to another file than it names`);
      for (const symbol of codeOf(symbols)) {
        const whole = new RegExp(`(?<![\\w$])${symbol.replaceAll(/[^\w]/g, "\\$&")}(?![\\w$])`);
        assert(whole.test(read(shown)), `${lesson}: there is no ${symbol} in ${shown}`);
      }
    }
  }
});
