import { assertEquals } from "@std/assert";
import { startProgress } from "../../workers/tools/command.ts";
import { withoutProgress } from "./progress_lines.ts";

Deno.test("withoutProgress() takes out what slow work prints of itself, and leaves every other line", () => {
  let printed = "[first]\n";
  let nowMs = 0;
  const pipe = { isTerminal: false, columns: () => 80, write: (text: string) => void (printed += text) };
  const progress = startProgress("orders", 1000, pipe, () => nowMs);
  for (const done of [0, 310, 1000]) {
    nowMs += 5000;
    progress.at(done);
    progress.say(`note at ${done} %  of all`);
  }
  assertEquals(printed.split("\n").length, 8, "it prints lines of progress");
  assertEquals(
    withoutProgress(printed),
    "[first]\nnote at 0 %  of all\nnote at 310 %  of all\nnote at 1000 %  of all\n",
  );
});
