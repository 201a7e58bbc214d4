import { assert, assertEquals } from "@std/assert";
import { VERSION } from "../shared/process/metrics.ts";

const changelog = Deno.readTextFileSync(new URL("changelog.md", import.meta.url));

Deno.test("the changelog has its unreleased part first, then versions from the newest on, with the usual headings", () => {
  const headings = [...changelog.matchAll(/^## (.*)$/gm)].map(([, text]) => text ?? "");
  assertEquals(headings[0], "[Unreleased]");
  const versions = headings.slice(1).map((text) => {
    const [, numbers = ""] = /^\[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$/.exec(text) ?? [];
    assert(numbers, text);
    return numbers.split(".").map((part) => part.padStart(4, "0")).join();
  });
  assertEquals(versions, versions.toSorted().reverse());
  assert(headings[1]?.startsWith(`[${VERSION}] `), "the newest version is not that of deno.json");
  const kinds = [...changelog.matchAll(/^### (.*)$/gm)].map(([, text]) => text ?? "");
  const usual = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
  assertEquals(kinds.filter((kind) => !usual.includes(kind)), []);
});
