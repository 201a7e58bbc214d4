import { assert, assertEquals } from "@std/assert";
import { Hono } from "hono";
import type { ApiEnv } from "../http.ts";
import { isSame, OPS_COOKIE, refusalOf, signIn } from "./access.ts";

const TOKEN = "a-token-of-sixteen";

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

/** An application that asks for `token`: `/in` signs in, `/` answers with the status of the refusal, or 200. */
function appWith(token: string) {
  const app = new Hono<ApiEnv>();
  app.get("/in", async (c) => {
    await signIn(c, token);
    return c.text("");
  });
  app.get("/", async (c) => {
    const refused = await refusalOf({ token, remoteAddress: () => null }, c);
    return c.json(refused?.status ?? 200);
  });
  return app;
}

async function cookieFor(token: string): Promise<string> {
  const response = await appWith(token).request("/in");
  return decodeURIComponent(
    response.headers.get("set-cookie")?.split(";")[0]?.split("=").slice(1).join("=") ?? "",
  );
}

async function statusWith(value: string, token = TOKEN): Promise<number> {
  const cookie = `${OPS_COOKIE}=${encodeURIComponent(value)}`;
  return await (await appWith(token).request("/", { headers: { cookie } })).json();
}

Deno.test("a cookie holds until its time, for its token, and cannot be made to last", async () => {
  const cookie = await cookieFor(TOKEN);
  assertEquals(await statusWith(cookie), 200);
  assertEquals(await statusWith(cookie, `${TOKEN}2`), 401, "the token has changed");
  const [seconds, signature] = cookie.split(".");
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
  for (const value of forged) assertEquals(await statusWith(value), 401, value);
  const { now } = Date;
  try {
    Date.now = () => Number(seconds) * 1000 - 1;
    assertEquals(await statusWith(cookie), 200);
    Date.now = () => Number(seconds) * 1000;
    assertEquals(await statusWith(cookie), 401, "it is over");
  } finally {
    Date.now = now;
  }
});

Deno.test("a cookie gives nothing of its token away", async () => {
  assert(!(await cookieFor(TOKEN)).includes(TOKEN));
  assert(await cookieFor(TOKEN) !== await cookieFor(`${TOKEN}2`));
});
