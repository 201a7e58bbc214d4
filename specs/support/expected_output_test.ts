import { assertEquals } from "@std/assert";
import { startProgress } from "../../workers/tools/command.ts";
import { isAsExpected } from "./expected_output.ts";
import { withoutProgress } from "./run_task.ts";

const order = "order 01a20441-ae89-7222-9369-984124b51d7d is PENDING\n";

Deno.test("isAsExpected() takes other ids and times of the same form, and nothing else for what it says", () => {
  const is = (actual: string, expected: string) => isAsExpected(actual, expected, { unordered: false });
  assertEquals(is(order, order), true);
  assertEquals(is("order 01a20441-ae89-7222-9369-000000000000 is PENDING", order), true);
  assertEquals(is("order 01a20441-ae89-7222-9369-984124b51d7d is PAID", order), false);
  assertEquals(is("order none is PENDING", order), false);
  assertEquals(is("", order), false);
  assertEquals(is("at 23:59:59.999", "at 05:12:00.123"), true);
  assertEquals(is("2026-11-22T17:15:43.113Z", "2027-01-02T03:04:05.678Z"), true);
  assertEquals(is("964 orders/s, 17 % in 1.25 s", "1200 orders/s, 3 % in 2 s"), true);
  assertEquals(is("964 orders", "963 orders"), false);
  assertEquals(is(" 43.4 +  6.8 ms  send", "  7.4 + 12.2 ms  send"), true);
  assertEquals(is("a.b (1)", "a.b (1)"), true);
  assertEquals(is("axb (1)", "a.b (1)"), false);
  const slowly = "[#########---------------------]  31 %  310 of 1000 orders, 62/s, 11 s left\n";
  assertEquals(is(slowly + order, order), true);
});

Deno.test("isAsExpected() lets … stand for what varies in a line, and alone for lines", () => {
  const is = (actual: string, expected: string) => isAsExpected(actual, expected, { unordered: false });
  assertEquals(is("took 12 ms in all", "took … ms in all"), true);
  assertEquals(is("took 12 s in all", "took … ms in all"), false);
  assertEquals(is("first\nsecond\nthird", "first\n…\nthird"), true);
  assertEquals(is("first\nthird", "first\n…\nthird"), true);
  assertEquals(is("first\nsecond", "first\n…\nthird"), false);
  assertEquals(is("first\nsecond", "first"), false);
});

Deno.test("isAsExpected() takes lines in any order where it is told to, each once", () => {
  const is = (actual: string, expected: string) => isAsExpected(actual, expected, { unordered: true });
  assertEquals(is("b\na", "a\nb"), true);
  assertEquals(is("b\na\na", "a\nb"), false);
  assertEquals(is("b", "a\nb"), false);
});

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
