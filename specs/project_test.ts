/**
 * The documents say what the code does: their tables, their diagram, and what is generated.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { QUEUES } from "../shared/topology.ts";
import { eventData } from "../shared/events.ts";
import { isFinal, ORDER_STATUSES, ORDER_TRANSITIONS } from "../shared/order_status.ts";
import { DATABASE_ROLES } from "../shared/sql/migrate.ts";
import { outdated } from "./generate.ts";
import { codeOf as code } from "./support/markdown.ts";

const root = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, root));
const project = read("specs/project.md");

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

Deno.test("project.md's state diagram is ORDER_TRANSITIONS", () => {
  const diagram = /```mermaid\nstateDiagram-v2\n([^`]*)```/.exec(project)?.[1] ?? "";
  const wanted = [
    "[*] --> PENDING",
    ...ORDER_TRANSITIONS.map(({ from, on, to, emits }) =>
      `${from} --> ${to}: ${on}${emits ? ` / ${emits}` : ""}`
    ),
    ...ORDER_STATUSES.filter(isFinal).map((status) => `${status} --> [*]`),
  ];
  assertEquals(diagram.trim().split("\n").map((line) => line.trim()).toSorted(), wanted.toSorted());
});

Deno.test("what repeats the code is as deno task generate writes it", () => {
  assertEquals(outdated().map(({ path }) => path), [], "run: deno task generate");
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

Deno.test("project.md's roles are DATABASE_ROLES", () => {
  const modules = Object.values(QUEUES).map(({ name }) => `orderflow_${name.split(".", 1).join()}`);
  const [[module = ""] = [], ...others] = table(project, "role");
  assertEquals(module, "`orderflow_` and a module's name");
  const named = others.flatMap(([roles]) => code(roles));
  assertEquals(named.toSorted(), DATABASE_ROLES.filter((role) => !modules.includes(role)).toSorted());
});

Deno.test("SECURITY.md names a test for each threat that something stands against", () => {
  const rows = table(read(".github/SECURITY.md"), "threat");
  assert(rows.length > 0);
  for (const [threat, , , tests] of rows) {
    assert(
      code(tests).some((path) => path.endsWith("_test.ts")),
      `no test shows what stands against: ${threat}`,
    );
  }
});
