/**
 * Signing in to the page, where a token is set.
 *
 * @module
 */
import { deleteCookie } from "hono/cookie";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { type App, HttpProblem, mediaTypeOf, readBody, type RequestContext } from "../http.ts";
import { LOCATION, route, routes, text } from "../openapi/route.ts";
import { isCrossSite, isSame, OPS_COOKIE, signIn } from "../ops/access.ts";

/** A wrong token is answered only after this time, in milliseconds. */
const WRONG_TOKEN_MS = 500;
/** Wrong tokens that wait for their answer at once; more are not looked at. Together: twenty guesses a second. */
const MAX_WRONG_TOKENS = 10;
const FORM = "application/x-www-form-urlencoded";

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
