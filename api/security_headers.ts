/**
 * Headers that keep browsers and caches from doing more with an answer than it is meant for
 * (https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html).
 *
 * @module
 */
import { secureHeaders } from "hono/secure-headers";
import type { Middleware } from "./http.ts";

/** For what is no page: shown as one all the same, it loads nothing, runs nothing, and is framed by nobody. */
const NOTHING = "default-src 'none'; frame-ancestors 'none'";

/** What an answer has unless its route says otherwise: the page has a policy of its own, its files may be cached. */
export const answerDefaults: Middleware = async (c, next) => {
  c.header("content-security-policy", NOTHING);
  c.header("cache-control", "no-store");
  await next();
};

/** What every answer has. No header lets another origin read one (CORS): none is set on purpose. */
export const securityHeaders: Middleware = secureHeaders({
  strictTransportSecurity: false, // TLS, where there is any, ends before this process
  referrerPolicy: "same-origin", // with less, a browser hides from us too which page a form was on
  xFrameOptions: "DENY",
  // For browsers and plug-ins that are no more, or without effect beside the policy. Each header costs a request 1 µs.
  originAgentCluster: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xPermittedCrossDomainPolicies: false,
  xXssProtection: false,
  removePoweredBy: false, // nothing sets it
});
