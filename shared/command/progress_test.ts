import { assertEquals } from "@std/assert";
import { progressText, startProgress } from "./progress.ts";

const bar = (full: number) => `[${"#".repeat(full)}${"-".repeat(30 - full)}]`;

Deno.test("progressText() fills up with what is done, and is never full before the end", () => {
  const text = (done: number, total: number | null, elapsedMs = 0) =>
    progressText({ unit: "orders", done, total, elapsedMs });
  assertEquals(text(0, 3), `${bar(0)}   0 %  0 of 3 orders`);
  assertEquals(text(1, 2, 999), `${bar(15)}  50 %  1 of 2 orders`);
  assertEquals(text(999, 1000), `${bar(29)}  99 %  999 of 1000 orders`);
  assertEquals(text(5, 5), `${bar(30)} 100 %  5 of 5 orders`);
  assertEquals(text(0, 0), `${bar(30)} 100 %  0 of 0 orders`);
});

Deno.test("progressText() has the rate and the time that is left, where they are known", () => {
  const text = (done: number, total: number | null, elapsedMs: number) =>
    progressText({ unit: "orders", done, total, elapsedMs });
  assertEquals(text(100, 400, 2000), `${bar(7)}  25 %  100 of 400 orders, 50/s, 6 s left`);
  assertEquals(text(3, 6, 2000), `${bar(15)}  50 %  3 of 6 orders, 1.5/s, 2 s left`);
  assertEquals(text(0, 6, 2000), `${bar(0)}   0 %  0 of 6 orders`);
  assertEquals(text(6, 6, 2000), `${bar(30)} 100 %  6 of 6 orders, 3.0/s`);
  assertEquals(text(20, null, 1000), "20 orders, 20/s");
});

function screen(isTerminal: boolean, columns = 80) {
  const written: string[] = [];
  return { written, isTerminal, columns: () => columns, write: (text: string) => void written.push(text) };
}

Deno.test("on a terminal the line is drawn over itself, ten times a second at most, and is gone at the end", () => {
  const terminal = screen(true, 20);
  let nowMs = 0;
  const progress = startProgress("orders", 4, terminal, () => nowMs);
  progress.at(1);
  for (nowMs = 1; nowMs < 100; nowMs++) progress.at(2);
  assertEquals(terminal.written, [`\r${bar(7).slice(0, 19)}\x1b[K`]);
  nowMs = 100;
  progress.at(3);
  assertEquals(terminal.written.length, 2);
  progress.say("a process crashed");
  assertEquals(terminal.written.slice(2), ["\r\x1b[Ka process crashed\n", terminal.written[1] ?? ""]);
  progress[Symbol.dispose]();
  assertEquals(terminal.written.at(-1), "\r\x1b[K");
});

Deno.test("elsewhere a plain line is printed every five seconds, and none for short work", () => {
  const pipe = screen(false);
  let nowMs = 0;
  const progress = startProgress("orders", 10, pipe, () => nowMs);
  for (nowMs = 0; nowMs < 5000; nowMs += 50) progress.at(1);
  assertEquals(pipe.written, []);
  for (; nowMs < 12_000; nowMs += 50) progress.at(5);
  assertEquals(pipe.written.map((line) => line.slice(40)), [
    "5 of 10 orders, 1.0/s, 5 s left\n",
    "5 of 10 orders, 0.5/s, 10 s left\n",
  ]);
  progress.say("a process crashed");
  progress[Symbol.dispose]();
  assertEquals(pipe.written.slice(2), ["a process crashed\n"]);
});
