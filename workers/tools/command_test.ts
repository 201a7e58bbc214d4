import { assertEquals, assertThrows } from "@std/assert";
import { onOff, progressText, readFlags, startProgress, text, UsageError, wholeNumber } from "./command.ts";
import { urlFlag } from "./ops_api.ts";

const flags = {
  orders: wholeNumber(1, 100).default(7),
  rate: wholeNumber(1, 9).optional(),
  url: urlFlag,
  consumer: text.optional(),
  json: onOff,
};

Deno.test("readFlags() has what is given, the default of what is not, and the words between for who takes them", () => {
  assertEquals(readFlags([], flags), { flags: { orders: 7, json: false }, rest: [] });
  const args = ["--orders=100", "--rate", "9", "--url", "http://[::1]:80/", "--consumer=a=b", "--json", "x"];
  const given = { orders: 100, rate: 9, url: "http://[::1]:80", consumer: "a=b", json: true };
  assertEquals(readFlags(args, flags, true), { flags: given, rest: ["x"] });
});

Deno.test("readFlags() is null where help is asked for, whatever else is wrong", () => {
  for (const help of ["--help", "-h"]) {
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

const bar = (full: number) => `[${"#".repeat(full)}${"-".repeat(30 - full)}]`;

Deno.test("progressText() fills up, is never full before the end, and has rate and time where they are known", () => {
  const cases: [done: number, total: number, elapsedMs: number, text: string][] = [
    [999, 1000, 999, `${bar(29)}  99 %  999 of 1000 orders`],
    [0, 0, 0, `${bar(30)} 100 %  0 of 0 orders`],
    [100, 400, 2000, `${bar(7)}  25 %  100 of 400 orders, 50/s, 6.0 s left`],
    [3, 6, 2000, `${bar(15)}  50 %  3 of 6 orders, 1.5/s, 2.0 s left`],
    [6, 6, 2000, `${bar(30)} 100 %  6 of 6 orders, 3.0/s`],
  ];
  for (const [done, total, elapsedMs, text] of cases) {
    assertEquals(progressText("orders", done, total, elapsedMs), text);
  }
});

/** Progress on a screen of 20 columns, whose time is `at.ms`. */
function progressOn(isTerminal: boolean) {
  const written: string[] = [];
  const at = { ms: 0 };
  const screen = { isTerminal, columns: () => 20, write: (text: string) => void written.push(text) };
  return { written, at, progress: startProgress("orders", 10, screen, () => at.ms) };
}

Deno.test("on a terminal the line is drawn over itself, ten times a second at most, and is gone at the end", () => {
  const { written, at, progress } = progressOn(true);
  const drawn = (full: number) => `\r${bar(full).slice(0, 19)}\x1b[K`;
  for (; at.ms <= 100; at.ms++) progress.at(5);
  progress.say("a process crashed");
  progress[Symbol.dispose]();
  assertEquals(written, [drawn(0), drawn(15), "\r\x1b[Ka process crashed\n", drawn(15), "\r\x1b[K"]);
});

Deno.test("elsewhere a plain line is printed every five seconds, and none for short work", () => {
  const { written, at, progress } = progressOn(false);
  for (; at.ms < 5000; at.ms += 50) progress.at(5);
  assertEquals(written, []);
  for (; at.ms < 12_000; at.ms += 50) progress.at(5);
  progress[Symbol.dispose]();
  assertEquals(written.map((line) => line.slice(line.indexOf("5 of"))), [
    "5 of 10 orders, 1.0/s, 5.0 s left\n",
    "5 of 10 orders, 0.5/s, 10.0 s left\n",
  ]);
});
