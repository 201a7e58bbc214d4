/**
 * Who may use `/ops`, and the page.
 *
 * @module
 */
import { getCookie } from "hono/cookie";
import { createMiddleware } from "hono/factory";
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { Middleware } from "../correlation.ts";
import { problems } from "../openapi/describe.ts";
import type { Description } from "../openapi/description.ts";
import { HttpProblem, type RequestContext } from "../http.ts";

/** The address that a request came from, or null where it did not come over a socket. */
export type RemoteAddress = (c: RequestContext) => string | null;

/** Who is let in. */
export interface OpsAccess {
  /** The token to ask for; without one only loopback addresses are let in. */
  readonly token: string | undefined;
  /** Tells where a request came from; asked only when there is no token. */
  readonly remoteAddress: RemoteAddress;
}

/** The cookie of those who have signed in on the page. */
export const OPS_COOKIE = "orderflow_ops";

const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|::ffff:127(\.\d{1,3}){3})$/;
const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;
const SAFE_METHODS = ["GET", "HEAD", "OPTIONS"];
/** What proxies add: who sends one of these is not on this machine, whatever the socket and the host say. */
const FORWARDED = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/**
 * Lets in who has the token, as a bearer token or in the cookie of the page, or, where none is set, who calls from this
 * machine, not by way of a proxy, under a loopback name (a foreign name that resolves to it is how a web page would get
 * here). Requests that another site's page sends are refused always.
 */
export function opsAccess(access: OpsAccess): Middleware {
  return createMiddleware(async (c, next) => {
    const refused = refusalOf(access, c);
    if (refused) throw refused;
    await next();
  });
}

/** The ways in: the token, the cookie of the page, or, where no token is set, a loopback address. */
export const OPS_SECURITY: NonNullable<Description["security"]> = [{ opsToken: [] }, { opsCookie: [] }, {}];

/** What `opsAccess` makes true of every route behind it. */
export function describeOpsAccess(): Description {
  return {
    security: OPS_SECURITY,
    responses: problems({
      401: "`OPS_TOKEN` is set, and the request has neither the token nor the cookie of the page.",
      403:
        "`OPS_TOKEN` is not set, and the request is not from this machine; or another site's page has sent it.",
    }),
  };
}

/** Why the request is refused: a 401 that asks for the token, or a 403; null where it is let in. */
export function refusalOf({ token, remoteAddress }: OpsAccess, c: RequestContext): HttpProblem | null {
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
  if (isValidCookie(getCookie(c, OPS_COOKIE) ?? "", token, new Date())) {
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
export function isCrossSite(c: RequestContext): boolean {
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
 * The cookie's value: until when it holds, and a keyed hash of that (HMAC-SHA-256, RFC 2104), so that a cookie that leaks
 * does not give the token away. It outlives a restart of the API, and ends at its time or when the token changes.
 */
export function cookieOf(token: string, until: Date): string {
  const seconds = String(Math.floor(until.getTime() / 1000));
  return `${seconds}.${sign(token, seconds)}`;
}

/** Whether `value` is what `cookieOf` made of `token`, for a time that is not over at `now`. */
export function isValidCookie(value: string, token: string, now: Date): boolean {
  const [seconds = "", signature = ""] = value.split(".");
  return isSame(signature, sign(token, seconds)) && Number(seconds) * 1000 > now.getTime();
}

function sign(token: string, text: string): string {
  const key = createHash("sha256").update(`orderflow ops cookie\0${token}`).digest();
  return createHmac("sha256", key).update(text).digest("base64url");
}

/**
 * Compares two secrets in a time that depends neither on where they differ nor on how long the wanted one is: their
 * digests have the same length, and those alone are compared.
 */
export function isSame(given: string, wanted: string): boolean {
  const [a, b] = [given, wanted].map((text) => createHash("sha256").update(text).digest());
  return a !== undefined && b !== undefined && timingSafeEqual(a, b);
}
