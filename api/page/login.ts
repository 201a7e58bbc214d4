/**
 * Signing in to the page, where a token is set.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { Hono } from "hono";
import { deleteCookie, setCookie } from "hono/cookie";
import type { App, CorrelationEnv } from "../correlation.ts";
import { answer, describeRoutes, LOCATION, mediaType, problems } from "../openapi/describe.ts";
import type { Description } from "../openapi/description.ts";
import { HttpProblem, type RequestContext } from "../http.ts";
import { cookieOf, isCrossSite, isSame, OPS_COOKIE } from "../ops/access.ts";
import { readBounded } from "../read_json.ts";

export interface LoginDeps {
  /** The token to ask for; without one there is nothing to sign in to. */
  readonly token: string | undefined;
  /** The page that asks for the token, and says that the last one was wrong. */
  readonly askAgain: (c: RequestContext) => Promise<Response>;
}

/** How long a browser stays signed in, in seconds. */
const LOGIN_SECONDS = 7 * 24 * 60 * 60;
/** A wrong token is answered only after this time, in milliseconds. */
const WRONG_TOKEN_MS = 500;
/** Wrong tokens that wait for their answer at once; more are not looked at. Together: twenty guesses a second. */
const MAX_WRONG_TOKENS = 10;

/** `POST /login` and `POST /logout`, as the page's forms send them. */
export function loginRoutes({ token, askAgain }: LoginDeps): App {
  const app = new Hono<CorrelationEnv>();
  let wrong = 0;

  app.post("/login", async (c) => {
    refuseCrossSite(c);
    if (token === undefined) return c.redirect("/", 303);
    const given = await readToken(c);
    if (wrong >= MAX_WRONG_TOKENS) { // before the token is looked at: else the answer would tell
      throw new HttpProblem(429, "Too many wrong tokens. Try again in a moment.", {
        headers: { "retry-after": "1" },
      });
    }
    if (!isSame(given, token)) {
      wrong++;
      await delay(WRONG_TOKEN_MS);
      wrong--;
      return await askAgain(c);
    }
    setCookie(c, OPS_COOKIE, cookieOf(token, new Date(Date.now() + LOGIN_SECONDS * 1000)), {
      httpOnly: true,
      sameSite: "Strict",
      path: "/",
      maxAge: LOGIN_SECONDS,
      secure: isHttps(c),
    });
    return c.redirect("/", 303);
  });

  app.post("/logout", (c) => {
    refuseCrossSite(c);
    deleteCookie(c, OPS_COOKIE, { path: "/" });
    return c.redirect("/", 303);
  });

  return describeRoutes(app, { "POST /login": describeLogin, "POST /logout": describeLogout });
}

function describeLogin(): Description {
  const schema = { type: "object", required: ["token"], properties: { token: { type: "string" } } };
  const token = { summary: "The value of `OPS_TOKEN`", value: { token: "at-least-16-characters" } };
  return {
    operationId: "logIn",
    tags: ["Page"],
    summary: "Sign in to the page",
    requestBody: {
      required: true,
      content: { "application/x-www-form-urlencoded": { schema, examples: { token } } },
    },
    responses: {
      303: answer("To the page, with the cookie.", undefined, LOCATION),
      401: answer("The page that asks for the token, once more.", mediaType("text/html")),
      ...problems({
        403: "Another site's page has sent the request.",
        413: "The body is too large.",
        415: "The body is not declared as a form.",
        429: "Too many wrong tokens at once.",
      }),
    },
  };
}

function describeLogout(): Description {
  return {
    operationId: "logOut",
    tags: ["Page"],
    summary: "Sign out of the page",
    responses: {
      303: answer("To the page, without the cookie.", undefined, LOCATION),
      ...problems({ 403: "Another site's page has sent the request." }),
    },
  };
}

function refuseCrossSite(c: RequestContext): void {
  if (isCrossSite(c)) throw new HttpProblem(403, "Requests from another site's page are refused.");
}

async function readToken(c: RequestContext): Promise<string> {
  const type = c.req.header("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/x-www-form-urlencoded") {
    throw new HttpProblem(415, "Send the token as a form does: application/x-www-form-urlencoded.");
  }
  const body = new TextDecoder().decode(await readBounded(c.req.raw.body));
  return new URLSearchParams(body).get("token") ?? "";
}

/** What a client may claim here changes nothing but its own cookie: with Secure, plain HTTP does not send it back. */
function isHttps(c: RequestContext): boolean {
  const forwarded = c.req.header("x-forwarded-proto")?.split(",")[0]?.trim();
  return (forwarded ?? URL.parse(c.req.url)?.protocol.replace(":", "")) === "https";
}
