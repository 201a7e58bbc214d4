import { assertEquals, assertThrows } from "@std/assert";
import {
  duration,
  onOff,
  progressText,
  readFlags,
  startProgress,
  text,
  UsageError,
  wholeNumber,
} from "./command.ts";
import { urlFlag } from "./ops_api.ts";

Deno.test("duration() has the two largest units, without the second where that is 0", () => {
  const cases: [number, string][] = [
    [-1, "0 s"],
    [0.9, "0 s"],
    [59.9, "59 s"],
    [60, "1 min"],
    [184, "3 min 4 s"],
    [7200, "2 h"],
    [7261, "2 h 1 min"],
    [86_399, "23 h 59 min"],
    [3 * 86_400 + 7200, "3 d 2 h"],
  ];
  for (const [seconds, text] of cases) assertEquals(duration(seconds), text);
});

const flags = {
  orders: wholeNumber(1, 100).default(7),
  rate: wholeNumber(1, 9).optional(),
  url: urlFlag,
  consumer: text.optional(),
  json: onOff,
};

Deno.test("readFlags() has what is given, and the default of what is not", () => {
  assertEquals(readFlags([], flags), {
    flags: { orders: 7, rate: undefined, url: undefined, consumer: undefined, json: false },
    rest: [],
  });
  const args = ["--orders=100", "--rate", "9", "--url", "http://[::1]:80/", "--consumer=a=b", "--json"];
  assertEquals(readFlags(args, flags)?.flags, {
    orders: 100,
    rate: 9,
    url: "http://[::1]:80",
    consumer: "a=b",
    json: true,
  });
});

Deno.test("readFlags() is null where help is asked for, whatever else is wrong", () => {
  for (const help of ["--help", "-h"]) {
    assertEquals(readFlags([help], flags), null);
    assertEquals(readFlags(["--orders=none", "--no-such", help], flags), null);
  }
});

Deno.test("readFlags() names the flag at fault in one line, with what it takes", () => {
  const cases: [string[], string][] = [
    [["--ordrs=5"], "There is no flag --ordrs"],
    [["-x"], "There is no flag -x"],
    [["--orders"], "--orders takes a value"],
    [["--orders", "--json"], "--orders takes a value"],
    [["--json=yes"], "--json takes no value"],
    [["--orders=0"], '--orders must be a whole number from 1 to 100, not "0"'],
    [["--orders=101"], '--orders must be a whole number from 1 to 100, not "101"'],
    [["--rate=1e0"], '--rate must be a whole number from 1 to 9, not "1e0"'],
    [["--rate", "-5"], '--rate must be a whole number from 1 to 9, not "-5"'],
    [["--url=here"], '--url takes a URL such as http://127.0.0.1:8000, not "here"'],
    [["--consumer="], '--consumer must not be empty, not ""'],
    [["all"], '"all" is no flag, and nothing else is taken'],
  ];
  for (const [args, message] of cases) {
    assertEquals(assertThrows(() => readFlags(args, flags), UsageError).message, message);
  }
});

Deno.test("readFlags() keeps the words between the flags for who takes them", () => {
  assertEquals(readFlags(["one", "--json", "two"], flags, true)?.rest, ["one", "two"]);
});

const bar = (full: number) => `[${"#".repeat(full)}${"-".repeat(30 - full)}]`;

Deno.test("progressText() fills up, is never full before the end, and has rate and time where they are known", () => {
  const text = (done: number, total: number | null, elapsedMs = 0) =>
    progressText({ unit: "orders", done, total, elapsedMs });
  assertEquals(text(0, 3), `${bar(0)}   0 %  0 of 3 orders`);
  assertEquals(text(999, 1000, 999), `${bar(29)}  99 %  999 of 1000 orders`);
  assertEquals(text(0, 0), `${bar(30)} 100 %  0 of 0 orders`);
  assertEquals(text(100, 400, 2000), `${bar(7)}  25 %  100 of 400 orders, 50/s, 6 s left`);
  assertEquals(text(3, 6, 2000), `${bar(15)}  50 %  3 of 6 orders, 1.5/s, 2 s left`);
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
