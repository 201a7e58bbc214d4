/**
 * Who may use `/ops`.
 *
 * @module
 */
import { createMiddleware } from "hono/factory";
import { timingSafeEqual } from "node:crypto";
import type { Middleware } from "./correlation.ts";
import { HttpProblem, type RequestContext } from "./http_errors.ts";

/** The address that a request came from, or null where it did not come over a socket. */
export type RemoteAddress = (c: RequestContext) => string | null;

/** Who is let in. */
export interface OpsAccess {
  /** The bearer token to ask for; without one only loopback addresses are let in. */
  readonly token: string | undefined;
  /** Tells where a request came from; asked only when there is no token. */
  readonly remoteAddress: RemoteAddress;
}

const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|::ffff:127(\.\d{1,3}){3})$/;
const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/**
 * Lets in who has the token, or, where none is set, who calls from this machine under a loopback name (a foreign name
 * that resolves to it is how a web page would get here). Requests that another site's page sends are refused always.
 */
export function opsAccess({ token, remoteAddress }: OpsAccess): Middleware {
  return createMiddleware(async (c, next) => {
    const site = c.req.header("sec-fetch-site");
    if (site === "cross-site" || site === "same-site") {
      throw new HttpProblem(403, "Requests from another site's page are refused.");
    }
    if (token !== undefined) {
      if (!hasToken(c.req.header("authorization"), token)) {
        throw new HttpProblem(401, "Send the header authorization: Bearer <the value of OPS_TOKEN>.", {
          headers: { "www-authenticate": "Bearer" },
        });
      }
    } else {
      const address = remoteAddress(c);
      const local = address === null || LOOPBACK.test(address);
      if (!local || !LOOPBACK_HOST.test(new URL(c.req.url).hostname)) {
        throw new HttpProblem(403, "Without OPS_TOKEN, /ops answers only on a loopback address.");
      }
    }
    await next();
  });
}

function hasToken(header: string | undefined, token: string): boolean {
  const given = new TextEncoder().encode(header?.match(/^Bearer (.+)$/i)?.[1] ?? "");
  const wanted = new TextEncoder().encode(token);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}
