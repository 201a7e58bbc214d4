import { assert, assertEquals } from "@std/assert";
import { cookieOf, isSame, isValidCookie } from "./access.ts";

const TOKEN = "a-token-of-sixteen";
const until = new Date("2026-01-08T00:00:00Z");
const before = new Date("2026-01-07T23:59:59Z");

Deno.test("isSame() tells any two texts apart, whatever they have in common", () => {
  assert(isSame(TOKEN, TOKEN));
  assert(isSame("", ""));
  assert(isSame("tökén", "tökén"));
  const others = ["", " ", TOKEN.slice(0, -1), TOKEN.slice(1), `${TOKEN}x`, `x${TOKEN}`, `${TOKEN}\0`];
  const changed = [...TOKEN].map((_, i) => `${TOKEN.slice(0, i)}#${TOKEN.slice(i + 1)}`);
  for (const other of [...others, ...changed, TOKEN.toUpperCase()]) {
    assert(!isSame(other, TOKEN), JSON.stringify(other));
    assert(!isSame(TOKEN, other), JSON.stringify(other));
  }
});

Deno.test("a cookie holds until its time, for its token, and cannot be made to last", () => {
  const cookie = cookieOf(TOKEN, until);
  assert(isValidCookie(cookie, TOKEN, before));
  assert(!isValidCookie(cookie, TOKEN, until), "it is over");
  assert(!isValidCookie(cookie, `${TOKEN}2`, before), "the token has changed");
  const [seconds, signature] = cookie.split(".");
  assertEquals(Number(seconds), until.getTime() / 1000);
  const forged = [
    "",
    ".",
    TOKEN,
    `${Number(seconds) + 1}.${signature}`,
    `${seconds}`,
    `${seconds}.`,
    `.${signature}`,
    `NaN.${signature}`,
    `Infinity.${signature}`,
    `${seconds}.${signature}x`,
  ];
  for (const value of forged) assert(!isValidCookie(value, TOKEN, before), value);
});

Deno.test("a cookie gives nothing of its token away", () => {
  assert(!cookieOf(TOKEN, until).includes(TOKEN));
  assert(cookieOf(TOKEN, until) !== cookieOf(`${TOKEN}2`, until));
});
