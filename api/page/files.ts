// Bundled files and how they are served: the page's, and the API's reference at `/docs`, which is Swagger UI
// (https://swagger.io/tools/swagger-ui/) over `/openapi.json`.

import { Hono } from "hono";
import { etag } from "hono/etag";
import { getMimeType } from "hono/utils/mime";
import { z } from "zod";
import { type ApiEnv, type App, nothingAt, type RequestContext, unavailable } from "../http.ts";
import { type Route, route, routes, text } from "../openapi/route.ts";

const FILE_NAME = /^[\w-]+\.(js|css|html)$/;
/** The name has a hash of the content, as in `island-XOCXUP7F.js`: under this name it never changes. */
const HASHED = /-[A-Z0-9]{8}\.\w+$/;

const namesSchema = z.object({ script: z.string().regex(FILE_NAME), styles: z.string().regex(FILE_NAME) });

/** Where the page's script and styles are in the bundle in `folder`, as paths of URLs; null where there is none. */
export async function readPageFiles(folder: string): Promise<{ script: string; styles: string } | null> {
  const text = await orNull(Deno.readTextFile(`${folder}/assets.json`));
  if (text === null) return null;
  const { script, styles } = namesSchema.parse(JSON.parse(text));
  return { script: `/assets/${script}`, styles: `/assets/${styles}` };
}

/** The file `name` of the bundle in `folder` as an answer; null where there is none, or it is no file that is served. */
async function bundledFile(
  c: RequestContext,
  folder: string,
  name: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response | null> {
  const type = FILE_NAME.test(name) ? getMimeType(name) : undefined;
  const bytes = type ? await orNull(Deno.readFile(`${folder}/${name}`)) : null;
  if (!type || !bytes) return null;
  const caching = HASHED.test(name) ? "public, max-age=31536000, immutable" : "no-cache";
  return c.body(bytes, 200, { "content-type": type, "cache-control": caching, ...headers });
}

async function orNull<T>(reading: Promise<T>): Promise<T | null> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** The route of a bundle's scripts and styles. */
export function fileRoute(
  on: `GET /${string}`,
  operationId: string,
  summary: string,
  { folder, example, headers }: {
    readonly folder: string;
    readonly example: string;
    readonly headers?: Readonly<Record<string, string>>;
  },
): Route {
  return route(on, operationId, summary, {
    parameters: [{
      name: "name",
      in: "path",
      required: true,
      schema: { type: "string" },
      description: "As the page names it.",
      example,
    }],
    answers: [text(200, "The file.", "text/javascript", "text/css")],
    refusals: { 404: "There is no such file." },
    handle: async ({ c }) => {
      const file = await bundledFile(c, folder, c.req.param("name") ?? "", headers);
      if (!file) throw nothingAt(c);
      return file;
    },
  });
}

/** Nothing but this server's own files runs, is shown, or is asked; no other site may frame the page. */
export function contentPolicy(formsTo: "'self'" | "'none'"): { "content-security-policy": string } {
  return {
    "content-security-policy":
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
      `form-action ${formsTo}; base-uri 'none'; frame-ancestors 'none'`,
  };
}

/**
 * The reference and its files, out of `bundle`. Open to everyone, as the description is; what is tried out on it goes by
 * the rules of the route that is tried.
 */
export function docsRoutes(bundle: string): App {
  const folder = `${bundle}/docs`;
  const headers = contentPolicy("'none'");
  const app = new Hono<ApiEnv>();
  app.use(etag()); // the names have no hash: a browser asks each time, and is not sent 1.9 MB each time
  const reference = route("GET /", "readReference", "This reference", {
    answers: [text(200, "The reference.", "text/html")],
    refusals: { 503: "It is not built." },
    handle: async ({ c }) => {
      const page = await bundledFile(c, folder, "index.html", headers);
      if (page) return page;
      throw unavailable("The reference is missing from ui/dist. Run: deno task ui:bundle", 3);
    },
  });
  const files = fileRoute("GET /:name", "readReferenceFile", "The reference's script and styles", {
    folder,
    example: "reference.js",
    headers,
  });
  return app.route("/", routes("Page", reference, files));
}
