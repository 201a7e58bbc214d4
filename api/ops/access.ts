// Who may use `/ops`, `/metrics` and the page, and signing in to the page where a token is set.

import { deleteCookie, getSignedCookie, setSignedCookie } from "hono/cookie";
import { createHash, timingSafeEqual } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import {
  type App,
  HttpProblem,
  mediaTypeOf,
  type Middleware,
  readBody,
  type RequestContext,
} from "../http.ts";
import { type About, described, LOCATION, route, routes, text } from "../openapi/route.ts";

export interface OpsAccess {
  /** The token to ask for; without one only loopback addresses are let in. */
  readonly token: string | undefined;
  /** Tells where a request came from, or null where it did not come over a socket; asked only when there is no token. */
  readonly remoteAddress: (c: RequestContext) => string | null;
}

export const OPS_COOKIE = "orderflow_ops";
/** How long a browser stays signed in, in seconds. */
const LOGIN_SECONDS = 7 * 24 * 60 * 60;
/** A wrong token is answered only after this time, in milliseconds. */
const WRONG_TOKEN_MS = 500;
/** Wrong tokens that wait for their answer at once; more are not looked at. Together: twenty guesses a second. */
const MAX_WRONG_TOKENS = 10;
const FORM = "application/x-www-form-urlencoded";

const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|::ffff:127(\.\d{1,3}){3})$/;
const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;
const SAFE_METHODS = ["GET", "HEAD", "OPTIONS"];
/** What proxies add: who sends one of these is not on this machine, whatever the socket and the host say. */
const FORWARDED = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/** The ways in: the token, the cookie of the page, or, where no token is set, a loopback address. */
export const OPS_SECURITY: NonNullable<About["security"]> = [{ opsToken: [] }, { opsCookie: [] }, {}];

/**
 * Lets in who has the token, as a bearer token or in the cookie of the page, or, where none is set, who calls from this
 * machine, not by way of a proxy, under a loopback name (a foreign name that resolves to it is how a web page would get
 * here). Requests that another site's page sends are refused always.
 */
export function opsAccess(access: OpsAccess): Middleware {
  const about: About = {
    security: OPS_SECURITY,
    refusals: {
      401: "`OPS_TOKEN` is set, and the request has neither the token nor the cookie of the page.",
      403:
        "`OPS_TOKEN` is not set, and the request is not from this machine; or another site's page has sent it.",
    },
  };
  return described(about, async (c, next) => {
    const refused = await refusalOf(access, c);
    if (refused) throw refused;
    await next();
  });
}

/** Why the request is refused: a 401 that asks for the token, or a 403; null where it is let in. */
export async function refusalOf(
  { token, remoteAddress }: OpsAccess,
  c: RequestContext,
): Promise<HttpProblem | null> {
  if (isCrossSite(c)) return new HttpProblem(403, "Requests from another site's page are refused.");
  if (token === undefined) {
    const address = remoteAddress(c);
    const local = (address === null || LOOPBACK.test(address)) &&
      !FORWARDED.some((header) => c.req.header(header) !== undefined);
    return local && LOOPBACK_HOST.test(URL.parse(c.req.url)?.hostname ?? "")
      ? null
      : new HttpProblem(403, "Without OPS_TOKEN, /ops answers only on a loopback address.");
  }
  const bearer = c.req.header("authorization")?.match(/^Bearer (.+)$/i)?.[1];
  if (bearer !== undefined && isSame(bearer, token)) return null;
  if (await isSignedIn(c, token)) {
    if (SAFE_METHODS.includes(c.req.method) || isSameOrigin(c)) return null;
    return new HttpProblem(
      403,
      "With the cookie alone, changes are made from the page only. Send the token instead.",
    );
  }
  return new HttpProblem(401, "Send the header authorization: Bearer <the value of OPS_TOKEN>.", {
    headers: { "www-authenticate": "Bearer" },
  });
}

/**
 * Whether another site's page has sent the request: by its fetch metadata, which no page can forge, and where there are
 * none (plain HTTP beyond loopback) by its origin.
 */
function isCrossSite(c: RequestContext): boolean {
  const site = c.req.header("sec-fetch-site");
  return site === undefined ? originOf(c) === "foreign" : site === "cross-site" || site === "same-site";
}

/** Whether a browser says that this site's own page has sent the request. */
function isSameOrigin(c: RequestContext): boolean {
  return c.req.header("sec-fetch-site") === "same-origin" || originOf(c) === "own";
}

/** By the host alone: a proxy that ends TLS leaves the scheme of the URL another one than the page's. */
function originOf(c: RequestContext): "own" | "foreign" | "unknown" {
  const origin = c.req.header("origin");
  if (origin === undefined) return "unknown";
  const host = URL.parse(origin)?.host;
  return host !== undefined && host === URL.parse(c.req.url)?.host ? "own" : "foreign";
}

/**
 * `POST /login` and `POST /logout`, as the page's forms send them. Without a token there is nothing to sign in to;
 * `askAgain` is the page that asks for it, and says that the last one was wrong.
 */
export function loginRoutes(
  token: string | undefined,
  askAgain: (c: RequestContext, next: string) => Promise<Response>,
): App {
  let wrong = 0;
  return routes(
    "Page",
    route("POST /login", "logIn", "Sign in to the page", {
      body: {
        type: FORM,
        schema: z.object({ token: z.string(), next: z.string().optional() }),
        examples: {
          token: { summary: "The value of `OPS_TOKEN`", value: { token: "at-least-16-characters" } },
        },
      },
      answers: [
        { ...text(303, "To the page, with the cookie."), headers: LOCATION },
        text(401, "The page that asks for the token, once more.", "text/html"),
      ],
      refusals: { 403: "Another site's page has sent the request.", 429: "Too many wrong tokens at once." },
      handle: async ({ c }) => {
        refuseCrossSite(c);
        if (token === undefined) return c.redirect("/", 303);
        const { given, next } = await readForm(c);
        if (wrong >= MAX_WRONG_TOKENS) { // before the token is looked at: else the answer would tell
          throw new HttpProblem(429, "Too many wrong tokens. Try again in a moment.", {
            headers: { "retry-after": "1" },
          });
        }
        if (!isSame(given, token)) {
          wrong++;
          await delay(WRONG_TOKEN_MS);
          wrong--;
          return await askAgain(c, next);
        }
        await signIn(c, token);
        return c.redirect(next, 303);
      },
    }),
    route("POST /logout", "logOut", "Sign out of the page", {
      answers: [{ ...text(303, "To the page, without the cookie."), headers: LOCATION }],
      refusals: { 403: "Another site's page has sent the request." },
      handle: ({ c }) => {
        refuseCrossSite(c);
        deleteCookie(c, OPS_COOKIE, { path: "/" });
        return c.redirect("/", 303);
      },
    }),
  );
}

function refuseCrossSite(c: RequestContext): void {
  if (isCrossSite(c)) throw new HttpProblem(403, "Requests from another site's page are refused.");
}

/** The token that was given, and the address of the page to go on with: of this page, and of no other site. */
async function readForm(c: RequestContext): Promise<{ given: string; next: string }> {
  if (mediaTypeOf(c) !== FORM) {
    throw new HttpProblem(415, `Send the token as a form does: ${FORM}.`);
  }
  const fields = new URLSearchParams(new TextDecoder().decode(await readBody(c.req.raw)));
  const next = fields.get("next") ?? "";
  return { given: fields.get("token") ?? "", next: /^\/\?[\x21-\x7e]*$/.test(next) ? next : "/" };
}

/**
 * Signs the browser in. The cookie says until when it holds, and is signed with a key that is made of the token, so that
 * one that leaks does not give the token away. It outlives a restart of the API, and ends at its time or when the token
 * changes.
 */
async function signIn(c: RequestContext, token: string): Promise<void> {
  const until = Math.floor(Date.now() / 1000) + LOGIN_SECONDS;
  await setSignedCookie(c, OPS_COOKIE, String(until), cookieKey(token), {
    httpOnly: true,
    sameSite: "Strict",
    path: "/",
    maxAge: LOGIN_SECONDS,
    secure: isHttps(c),
  });
}

async function isSignedIn(c: RequestContext, token: string): Promise<boolean> {
  const until = await getSignedCookie(c, cookieKey(token), OPS_COOKIE);
  return Number(until) * 1000 > Date.now(); // false where it is missing, or signed by somebody else
}

function cookieKey(token: string): string {
  return `orderflow ops cookie\0${token}`;
}

/** What a client may claim here changes nothing but its own cookie: with Secure, plain HTTP does not send it back. */
function isHttps(c: RequestContext): boolean {
  const forwarded = c.req.header("x-forwarded-proto")?.split(",")[0]?.trim();
  return (forwarded ?? URL.parse(c.req.url)?.protocol.replace(":", "")) === "https";
}

/**
 * Compares two secrets in a time that depends neither on where they differ nor on how long the wanted one is: their
 * digests have the same length, and those alone are compared.
 */
export function isSame(given: string, wanted: string): boolean {
  const digestOf = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digestOf(given), digestOf(wanted));
}
