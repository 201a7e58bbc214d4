// The documents are true: what they link to and name is there, their tables, diagrams and lists are those of the code, and
// what is generated is up to date.

import { assert, assertEquals } from "@std/assert";
import { join } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { eventData } from "../shared/events.ts";
import { isFinal, ORDER_STATUSES, ORDER_TRANSITIONS } from "../shared/order_status.ts";
import { VERSION } from "../shared/process/metrics.ts";
import { DATABASE_ROLES } from "../shared/sql/migrate.ts";
import { QUEUES } from "../shared/topology.ts";
import { outdated } from "./generate.ts";
import { partsOf, readingList } from "./size.ts";
import {
  anchorsOf,
  codeOf,
  fencedBlocks,
  linksOf,
  projectFiles,
  proseOf,
  sectionOf,
} from "./support/markdown.ts";
import { runTask } from "./support/run_task.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const read = (path: string) => Deno.readTextFileSync(join(root, path));
const files = projectFiles(root);
const documents = files.filter((path) => path.endsWith(".md"));
const project = read("specs/project.md");

Deno.test("every link of a document leads to a file that is there, and to a heading in it; so does every name of a file", () => {
  for (const document of documents) {
    for (const link of linksOf(read(document))) {
      if (/^[a-z]+:/.test(link)) continue; // another site's
      const [path = "", anchor] = link.split("#");
      const target = path === "" ? document : join(document, "..", path);
      const found = files.some((file) =>
        file === target || `${file}/`.startsWith(target.replace(/\/*$/, "/"))
      );
      assert(found, `${document} links to ${target}, which does not exist`);
      if (anchor === undefined) continue;
      assert(anchorsOf(read(target)).has(anchor), `${document} links to ${link}: there is no such heading`);
    }
    const prose = proseOf(read(document)).replaceAll(/New\s+file\s+`[^`]+`/g, ""); // a recipe's, which are yet to be
    const named = codeOf(prose).filter((text) =>
      /^[\w.-]+(\/[\w.-]+)*\.(ts|tsx|sql|json|lock|yml|md|sh)$/.test(text)
    );
    for (const path of named) {
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

Deno.test("what is pasted works in every shell: no comments and no bare question marks", () => {
  for (const name of documents.filter((path) => !path.startsWith(".github/"))) {
    for (const { info, text } of fencedBlocks(read(name))) {
      const bare = info === "sh" ? text.replaceAll(/"[^"]*"|'[^']*'/g, "''") : "";
      assertEquals(/(^|\s)#.*|\S*[^$]\?.*/m.exec(bare)?.[0], undefined, name);
    }
  }
});

Deno.test("the README's reading list can be read in one sitting, and deno task size counts it and all else", async () => {
  const way = readingList(read("README.md"));
  assertEquals(new Set(way).size, way.length);
  const lines = new Map(way.map((path) => [path, read(path).split("\n").length - 1]));
  const rows = new Map(partsOf(lines, way).map(([part, ...figures]) => [part, figures]));
  for (const what of ["files", "lines"]) {
    const [now = 0, atMost = 0] = rows.get(`the way of an order: ${what}`) ?? [];
    assert(now > 0 && now <= atMost, `the reading list has ${now} ${what}, ${atMost} at most`);
  }
  const { code, out, err } = await runTask("size", []);
  assertEquals([code, out.trim().split("\n").length], [0, rows.size + 1], err);
});

/** The rows of the table whose header starts with `first`, cell by cell. */
function table(text: string, first: string): string[][] {
  const lines = text.split("\n");
  const header = lines.findIndex((line) => line.startsWith(`| ${first} `));
  assert(header >= 0, `there is no table that starts with "${first}"`);
  const rows = lines.slice(header + 2);
  const end = rows.findIndex((line) => !line.startsWith("|"));
  return rows.slice(0, end < 0 ? rows.length : end)
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
}

Deno.test("what repeats the code is as deno task generate writes it", () => {
  assertEquals(outdated().map(({ path }) => path), [], "run: deno task generate");
});

Deno.test("project.md's state diagram is ORDER_TRANSITIONS, and its roles are DATABASE_ROLES", () => {
  const diagram = /```mermaid\nstateDiagram-v2\n([^`]*)```/.exec(project)?.[1] ?? "";
  const wanted = [
    "[*] --> PENDING",
    ...ORDER_TRANSITIONS.map(({ from, on, to, emits }) =>
      `${from} --> ${to}: ${on}${emits ? ` / ${emits}` : ""}`
    ),
    ...ORDER_STATUSES.filter(isFinal).map((status) => `${status} --> [*]`),
  ];
  assertEquals(diagram.trim().split("\n").map((line) => line.trim()).toSorted(), wanted.toSorted());

  const modules = Object.values(QUEUES).map(({ name }) => `orderflow_${name.split(".", 1).join()}`);
  const [[module = ""] = [], ...others] = table(project, "role");
  assertEquals(module, "`orderflow_` and a module's name");
  const named = others.flatMap(([roles]) => codeOf(roles));
  assertEquals(named.toSorted(), DATABASE_ROLES.filter((role) => !modules.includes(role)).toSorted());
});

Deno.test("project.md's modules react to what their queues are bound to, and each event has one that emits it", () => {
  const bound = Map.groupBy(Object.values(QUEUES), ({ name }) => name.split(".", 1).join());
  const rows = table(project, "module").filter(([module = ""]) => bound.has(module));
  const reacts = ([module = ""]: string[]) =>
    bound.get(module)?.flatMap(({ bindings }) => bindings).join(", ");
  assertEquals(rows.map(([, , , reactsTo]) => reactsTo), rows.map(reacts));
  const emitted = rows.flatMap(([, , emits = ""]) => emits.split(", "));
  assertEquals([...new Set(emitted)], emitted, "two modules emit the same");
  assertEquals(emitted.filter((type) => !Object.hasOwn(eventData, type)), [], "is no event");
});

Deno.test("SECURITY.md names a test for each threat that something stands against", () => {
  const untested = table(read(".github/SECURITY.md"), "threat").filter(([, , , tests]) =>
    !tests?.includes("_test.ts`")
  );
  assertEquals(untested, []);
});

Deno.test("the changelog has its unreleased part first, then the version of deno.json", () => {
  const headings = [...read("specs/changelog.md").matchAll(/^## (.*)$/gm)].map(([, text = ""]) => text);
  assertEquals([headings[0], headings[1]?.split(" ", 1).join()], ["[Unreleased]", `[${VERSION}]`]);
});
