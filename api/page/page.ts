/**
 * The debug page at `/`, and its files.
 *
 * @module
 */
import { Hono } from "hono";
import { kindOfError, messageOf } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import type { PageData } from "../../ui/page_data.ts";
import { renderLogin, renderPage } from "../../ui/page.tsx";
import { parseView } from "../../ui/url_state.ts";
import type { App, CorrelationEnv } from "../correlation.ts";
import { answer, describeRoutes, mediaType, problems } from "../openapi/describe.ts";
import type { Description } from "../openapi/description.ts";
import { HttpProblem, type ProblemStatus, type RequestContext } from "../http.ts";
import type { LiveDeps } from "../ops/live.ts";
import { liveOrder } from "../ops/live_pulse.ts";
import { loginRoutes } from "./login.ts";
import { OPS_SECURITY, type OpsAccess, refusalOf } from "../ops/access.ts";
import { findOrders } from "../ops/order_search.ts";
import type { ReadTimelines, TimelineEntry } from "../../shared/ops/timeline.ts";
import { opsOrderStory } from "../orders.ts";
import { type PageFiles, readBundledFile, readPageFiles } from "./files.ts";
import { offeredScenarios } from "../ops/scenarios.ts";

export interface UiDeps extends LiveDeps {
  readonly opsSql: Sql;
  readonly readTimelines: ReadTimelines;
  readonly bundle: string;
  /** Whether the database has been reached since the process started, and its schema is up to date. */
  readonly isSchemaReady: () => boolean;
  readonly faults?: unknown;
  readonly access: OpsAccess;
  readonly log: Logger;
}

/** What the page's data may take, in milliseconds: over a connection that is cut, questions wait. */
const PAGE_WAIT_MS = 3000;
/** Nothing but this server's own files runs, is shown, or is asked; no other site may frame the page. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
  "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/** The page, its files, and the way in. It answers before the schema is there, to say that it is not. */
export function uiRoutes(deps: UiDeps): App {
  const { access, bundle, log } = deps;
  const app = new Hono<CorrelationEnv>();
  const askForToken = async (c: RequestContext, failed: boolean) => {
    const assets = await readPageFiles(bundle);
    return html(c, 401, renderLogin({ failed, ...(assets ? { assets } : {}) }), {
      "www-authenticate": "Bearer",
    });
  };

  app.get("/", async (c) => {
    if (isForeignLink(c)) return sameAgain(c);
    const refused = refusalOf(access, c);
    if (refused?.status === 401) return await askForToken(c, false);
    if (refused) return plainPage(c, refused.status, "This page is not for you", refused.message);
    const assets = await readPageFiles(bundle);
    if (!assets) return bundleMissing(c);
    try {
      if (!deps.isSchemaReady()) return databaseAway(c);
      const data = await withTimeout(
        PAGE_WAIT_MS,
        pageData(deps, new URLSearchParams(c.req.query()), assets),
      );
      return data ? html(c, 200, renderPage(data)) : databaseSlow(c);
    } catch (error) {
      const kind = kindOfError(error);
      if (kind === "permanent") throw error;
      log.warning("The database could not serve the page", { error: messageOf(error) });
      return kind === "outage" ? databaseAway(c) : databaseSlow(c);
    }
  });

  app.get("/assets/:name", async (c) => {
    const file = await readBundledFile(bundle, c.req.param("name"));
    if (!file) throw new HttpProblem(404, `There is nothing at ${c.req.path}.`);
    return c.body(file.bytes, 200, file.headers);
  });

  app.route("/", loginRoutes({ token: access.token, askAgain: (c) => askForToken(c, true) }));
  return describeRoutes(app, { "GET /": describePage, "GET /assets/:name": describeAsset });
}

function describePage(): Description {
  const html = mediaType("text/html");
  return {
    operationId: "readPage",
    tags: ["Page"],
    summary: "The debug page",
    security: OPS_SECURITY,
    responses: {
      200: answer("The page.", html),
      401: answer("The page that asks for the token.", html),
      403: answer("Says that it is not for the caller.", html),
      503: answer("Says what is missing: the database, or the page's own files.", html),
    },
  };
}

function describeAsset(): Description {
  return {
    operationId: "readAsset",
    tags: ["Page"],
    summary: "The page's script and styles",
    parameters: [{
      name: "name",
      in: "path",
      required: true,
      schema: { type: "string" },
      description: "As the page names it.",
      example: "island-XOCXUP7F.js",
    }],
    responses: {
      200: answer("The file.", { ...mediaType("text/javascript"), ...mediaType("text/css") }),
      ...problems({ 404: "There is no such file." }),
    },
  };
}

async function pageData(deps: UiDeps, query: URLSearchParams, assets: PageFiles): Promise<PageData> {
  const { opsSql, live } = deps;
  const view = parseView(query);
  const { limit, status, search } = view;
  const pulse = await live.read(); // first: while the database is away, no others pile up behind it
  const [orders, story] = await Promise.all([
    findOrders(opsSql, { limit, search, ...(status ? { status } : {}) }),
    view.order ? readStory(deps, view.order) : null,
  ]);
  const scenarios = offeredScenarios(deps.faults !== undefined);
  return { view, pulse, orders, story, scenarios, assets };
}

/** A view may be of an order that is not there: of another database, say. */
async function readStory({ opsSql, readTimelines }: UiDeps, id: string): Promise<PageData["story"]> {
  try {
    const { order, timeline } = await opsOrderStory(opsSql, readTimelines, id);
    return { order: liveOrder(order), timeline: timeline.map(storyEntry) };
  } catch (error) {
    if (error instanceof HttpProblem && (error.status === 404 || error.status === 400)) return null;
    throw error;
  }
}

type StoryEntry = NonNullable<PageData["story"]>["timeline"][number];

function storyEntry(entry: TimelineEntry): StoryEntry {
  const at = entry.at.toISOString();
  return entry.kind === "retry"
    ? { ...entry, at, dueAt: entry.dueAt?.toISOString() ?? null }
    : { ...entry, at };
}

/** Whether somebody has followed a link on another site, in a chat say, which is no request of that site's. */
function isForeignLink(c: RequestContext): boolean {
  const site = c.req.header("sec-fetch-site");
  return (site === "cross-site" || site === "same-site") && c.req.header("sec-fetch-mode") === "navigate" &&
    c.req.header("sec-fetch-dest") === "document";
}

/**
 * Has the browser ask once more, by itself: only what this site's own page asks for comes with the cookie, which is
 * SameSite=Strict.
 */
function sameAgain(c: RequestContext): Response {
  return plainPage(c, 200, "OrderFlow", "One moment.", 0);
}

function bundleMissing(c: RequestContext): Response {
  return plainPage(
    c,
    503,
    "The page is not built",
    "Its script and styles are missing from ui/dist. Run: deno task ui:bundle",
    3,
  );
}

function databaseAway(c: RequestContext): Response {
  return plainPage(
    c,
    503,
    "The database cannot be reached",
    "Orders, events and everything else shown here are in the database. This page tries again by itself, " +
      "every few seconds.",
    3,
  );
}

/** It is there as far as anybody knows: it has too much to do, or the connection to it was cut without a word. */
function databaseSlow(c: RequestContext): Response {
  return plainPage(
    c,
    503,
    "The database does not answer in time",
    "It has too much to do at the moment, or was cut off. This page tries again by itself, every few seconds.",
    3,
  );
}

/** A page of words alone, without any file; with `refreshSeconds` it loads itself again after so many. */
function plainPage(
  c: RequestContext,
  status: ProblemStatus,
  title: string,
  text: string,
  refreshSeconds?: number,
): Response {
  const refresh = refreshSeconds === undefined
    ? ""
    : `<meta http-equiv="refresh" content="${refreshSeconds}">`;
  const headers = status === 503 ? { "retry-after": "3" } : {};
  return html(
    c,
    status,
    `<!doctype html><html lang="en"><head><meta charset="utf-8">` +
      `<meta name="viewport" content="width=device-width, initial-scale=1">` +
      `<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">${refresh}` +
      `<title>${title}</title></head><body><main><h1>${title}</h1><p>${text}</p></main></body></html>`,
    headers,
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
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cache-control": "no-store",
  });
}
