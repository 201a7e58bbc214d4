// The debug page at `/`, and its files.

import { z } from "zod";
import { ordersPageSchema, orderStorySchema } from "../../shared/ops/answers.ts";
import { queuesOf, tellStory } from "../../shared/ops/story.ts";
import { kindOfError, messageOf } from "../../shared/process/errors.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import { type PageData, renderLogin, renderPage } from "../../ui/page.tsx";
import { parseView, type ViewState } from "../../ui/url_state.ts";
import type { AppDeps } from "../deps.ts";
import { type App, type ProblemStatus, type RequestContext } from "../http.ts";
import { route, routes, text } from "../openapi/route.ts";
import { loginRoutes, OPS_SECURITY, refusalOf } from "../ops/access.ts";
import { findOrders } from "../ops/ops.ts";
import { offeredScenarios } from "../ops/scenarios.ts";
import { orderStory } from "../orders.ts";
import { contentPolicy, fileRoute, readPageFiles } from "./files.ts";

/** What the page's data may take, in milliseconds: over a connection that is cut, questions wait. */
const PAGE_WAIT_MS = 3000;

/** The page, its files, and the way in. It answers before the schema is there, to say that it is not. */
export function pageRoutes(deps: AppDeps): App {
  const { access, bundle } = deps;
  const askForToken = async (c: RequestContext, failed: boolean, next: string) => {
    const page = renderLogin({ failed, next, assets: await readPageFiles(bundle) });
    return html(c, 401, page, { "www-authenticate": "Bearer" });
  };
  const page = route("GET /", "readPage", "The debug page", {
    security: OPS_SECURITY,
    answers: [
      text(200, "The page.", "text/html"),
      text(401, "The page that asks for the token.", "text/html"),
      text(403, "Says that it is not for the caller.", "text/html"),
      text(503, "Says what is missing: the database, or the page's own files.", "text/html"),
    ],
    handle: async ({ c }) => {
      if (isForeignLink(c)) return plainPage(c, 200, SAME_AGAIN, 0);
      const refused = await refusalOf(access, c);
      if (refused?.status === 401) return await askForToken(c, false, `/${new URL(c.req.url).search}`);
      if (refused) return plainPage(c, refused.status, ["This page is not for you", refused.message]);
      return await debugPage(c, deps);
    },
  });
  const files = fileRoute("GET /assets/:name", "readAsset", "The page's script and styles", {
    folder: bundle,
    example: "island-XOCXUP7F.js",
  });
  return routes("Page", page, files)
    .route("/", loginRoutes(access.token, (c, next) => askForToken(c, true, next)));
}

async function debugPage(c: RequestContext, deps: AppDeps): Promise<Response> {
  const assets = await readPageFiles(deps.bundle);
  const unavailable = (words: Words) => plainPage(c, 503, words, 3);
  if (!assets) return unavailable(BUNDLE_MISSING);
  const view = parseView(new URLSearchParams(c.req.query()));
  try {
    if (!deps.isSchemaReady()) return unavailable(DATABASE_AWAY);
    const data = await withTimeout(PAGE_WAIT_MS, pageData(deps, view, assets));
    return data ? html(c, 200, renderPage(data)) : unavailable(DATABASE_SLOW);
  } catch (error) {
    const kind = kindOfError(error);
    if (kind === "permanent") throw error;
    deps.log.warning("The database could not serve the page", { error: messageOf(error) });
    return unavailable(kind === "outage" ? DATABASE_AWAY : DATABASE_SLOW);
  }
}

async function pageData(deps: AppDeps, view: ViewState, assets: PageData["assets"]): Promise<PageData> {
  const { opsSql, live } = deps;
  const queues = queuesOf(deps.bindings);
  const { limit, status, search } = view;
  const pulse = await live.read(); // first: while the database is away, no others pile up behind it
  const [orders, story] = await Promise.all([
    findOrders(opsSql, { limit, search, ...(status ? { status } : {}) }),
    view.order ? orderStory(deps, view.order) : null, // null as well where it is not there: of another database, say
  ]);
  return {
    view,
    pulse,
    orders: asJson(ordersPageSchema, orders),
    story: story && { ...asJson(orderStorySchema, story), beats: tellStory(story.timeline, queues) },
    scenarios: offeredScenarios(deps.faults !== undefined),
    queues,
    hasToken: deps.access.token !== undefined,
    assets,
  };
}

/** What the routes would answer with: its times are texts. */
function asJson<T>(schema: z.core.$ZodType<T>, value: object): T {
  return z.parse(schema, JSON.parse(JSON.stringify(value)));
}

/** Whether somebody has followed a link on another site, in a chat say, which is no request of that site's. */
function isForeignLink(c: RequestContext): boolean {
  const site = c.req.header("sec-fetch-site");
  return (site === "cross-site" || site === "same-site") && c.req.header("sec-fetch-mode") === "navigate" &&
    c.req.header("sec-fetch-dest") === "document";
}

type Words = readonly [title: string, text: string];

/**
 * Has the browser ask once more, by itself: only what this site's own page asks for comes with the cookie, which is
 * SameSite=Strict.
 */
const SAME_AGAIN: Words = ["OrderFlow", "One moment."];
const BUNDLE_MISSING: Words = [
  "The page is not built",
  "Its script and styles are missing from ui/dist. Run: deno task ui:bundle",
];
const DATABASE_AWAY: Words = [
  "The database cannot be reached",
  "Orders, events and everything else shown here are in the database. This page tries again by itself, every few seconds.",
];
/** It is there as far as anybody knows: it has too much to do, or the connection to it was cut without a word. */
const DATABASE_SLOW: Words = [
  "The database does not answer in time",
  "It has too much to do at the moment, or was cut off. This page tries again by itself, every few seconds.",
];

/** A page of words alone, without any file; with `refreshSeconds` it loads itself again after so many. */
function plainPage(
  c: RequestContext,
  status: ProblemStatus,
  [title, text]: Words,
  refreshSeconds?: number,
): Response {
  const refresh = refreshSeconds === undefined
    ? ""
    : `<meta http-equiv="refresh" content="${refreshSeconds}">`;
  return html(
    c,
    status,
    `<!doctype html><html lang="en"><head><meta charset="utf-8">` +
      `<meta name="viewport" content="width=device-width, initial-scale=1">` +
      `<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">${refresh}` +
      `<title>${title}</title></head><body><main><h1>${title}</h1><p>${text}</p></main></body></html>`,
    status === 503 ? { "retry-after": "3" } : {},
  );
}

function html(
  c: RequestContext,
  status: ProblemStatus,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return c.body(text, status, {
    ...headers,
    "content-type": "text/html; charset=utf-8",
    ...contentPolicy("'self'"),
    "cache-control": "no-store",
  });
}
