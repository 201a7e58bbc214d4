import { assertEquals, assertThrows } from "@std/assert";
import { apiUrl, onOff, readFlags, text, UsageError, wholeNumber } from "./flags.ts";

const flags = {
  orders: wholeNumber(1, 100).default(7),
  rate: wholeNumber(1, 9).optional(),
  url: apiUrl,
  consumer: text.optional(),
  json: onOff,
};

Deno.test("readFlags() has what is given, and the default of what is not", () => {
  const url = "http://127.0.0.1:8000";
  assertEquals(readFlags([], flags), {
    flags: { orders: 7, rate: undefined, url, consumer: undefined, json: false },
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
