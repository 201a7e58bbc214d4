// `deno task size`: how large each part of the project is, beside what it may be at most. Lines are those of source files,
// comments included; tests are files whose names end in `_test`, `_browser` or `_cluster`, and count apart. The way of an
// order is the README's reading list.

import { dirname } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { EXIT_DONE, tableLines, task } from "../workers/tools/command.ts";

const root = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, root));

type Part = readonly [part: string, now: number, atMost: number];

/** The files of the README's reading list, in its order. */
export function readingList(readme: string): string[] {
  return [...readme.matchAll(/^\d+\. `([\w/]+\.tsx?)`/gm)].map(([, path = ""]) => path);
}

/** The parts of a project whose files have so many lines, by their paths; `way` is read in its order. Pure. */
export function partsOf(lines: ReadonlyMap<string, number>, way: readonly string[]): Part[] {
  const sum = (matches: (path: string) => boolean) =>
    [...lines].reduce((total, [path, count]) => total + (matches(path) ? count : 0), 0);
  const isTest = (path: string) => /_(test|browser|cluster)\.tsx?$/.test(path);
  const sourceIn = (...folders: string[]) =>
    sum((path) => /\.tsx?$/.test(path) && !isTest(path) && folders.some((folder) => path.startsWith(folder)));
  const embedded = sourceIn("shared/embedded/", "embedded/");
  return [
    ["the way of an order: files", way.length, 13],
    ["the way of an order: lines", sum((path) => way.includes(path)), 1800],
    [
      "the way of an order: changes of folder",
      way.filter((path, i) => i > 0 && dirname(path) !== dirname(way[i - 1] ?? "")).length,
      6,
    ],
    ["shared without embedded", sourceIn("shared/") - sourceIn("shared/embedded/"), 5500],
    ["embedded", embedded, 2500],
    ["workers", sourceIn("workers/"), 3500],
    ["api", sourceIn("api/"), 2900],
    ["ui, TypeScript", sourceIn("ui/"), 3800],
    ["ui, CSS", sum((path) => path.endsWith(".css")), 1200],
    ["specs, source", sourceIn("specs/"), 5000],
    ["  of it bench", sourceIn("specs/bench/"), 1200],
    ["  of it chaos", sourceIn("specs/chaos/"), 800],
    ["all TypeScript that is no test", sourceIn(""), 24_000],
    ["tests", sum(isTest), 14_000],
    ["files", lines.size, 400],
    ["README.md", lines.get("README.md") ?? 0, 170],
    ["specs/project.md", lines.get("specs/project.md") ?? 0, 450],
  ];
}

/** The lines of each file that git knows of, by its path; binary files have none. */
async function countLines(): Promise<Map<string, number>> {
  const git = new Deno.Command("git", {
    args: ["ls-files", "-z"],
    cwd: fileURLToPath(root),
    stderr: "inherit",
  });
  const { success, stdout } = await git.output();
  if (!success) throw new Error("Cannot list the project's files: git ls-files has failed, see above");
  const paths = new TextDecoder().decode(stdout).split("\0").filter((path) => path !== "");
  return new Map(paths.map((path) => [path, read(path).split("\n").length - 1]));
}

async function run(): Promise<number> {
  const figure = (n: number) => n.toLocaleString("en");
  const columns = [
    { head: "part", cell: ([part]: Part) => part },
    { head: "now", cell: ([, now]: Part) => figure(now), isFigure: true },
    { head: "at most", cell: ([, , atMost]: Part) => figure(atMost), isFigure: true },
    { head: "", cell: ([, now, atMost]: Part) => now > atMost ? `${figure(now - atMost)} over` : "" },
  ];
  console.log(tableLines(partsOf(await countLines(), readingList(read("README.md"))), columns).join("\n"));
  return EXIT_DONE;
}

if (import.meta.main) {
  await task({
    name: "size",
    about: "shows how large each part of the project is, in source lines, beside what it may be at most",
    flags: {},
    groups: {},
    ends:
      "Asks git for the files. Ends with 0 whether or not a part is too large, 1 without git, 64 for a wrong usage.",
    run,
  });
}
