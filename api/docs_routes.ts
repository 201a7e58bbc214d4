/**
 * The API's reference at `/docs`: Swagger UI (https://swagger.io/tools/swagger-ui/) over `/openapi.json`.
 *
 * @module
 */
import { Hono } from "hono";
import { etag } from "hono/etag";
import type { App, CorrelationEnv } from "./correlation.ts";
import { answer, described, mediaType, problems } from "./describe.ts";
import { HttpProblem, type RequestContext } from "./http_errors.ts";
import { readBundledFile } from "./page_files.ts";

/** Nothing but this server's own files runs, is shown, or is asked; no other site may frame the reference. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
  "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/**
 * The reference and its files, out of `bundle`. Open to everyone, as the description is; what is tried out on it goes by
 * the rules of the route that is tried.
 */
export function docsRoutes(bundle: string): App {
  const app = new Hono<CorrelationEnv>();
  app.use(etag()); // the names have no hash: a browser asks each time, and is not sent 1.9 MB each time
  app.get(
    "/",
    described(
      () => ({
        operationId: "readReference",
        tags: ["Page"],
        summary: "This reference",
        responses: {
          200: answer("The reference.", mediaType("text/html")),
          ...problems({ 503: "It is not built." }),
        },
      }),
      async (c) => await file(c, bundle, "index.html") ?? notBuilt(),
    ),
  );
  app.get(
    "/:name",
    described(
      () => ({
        operationId: "readReferenceFile",
        tags: ["Page"],
        summary: "The reference's script and styles",
        parameters: [{
          name: "name",
          in: "path",
          required: true,
          schema: { type: "string" },
          example: "reference.js",
        }],
        responses: {
          200: answer("The file.", { ...mediaType("text/javascript"), ...mediaType("text/css") }),
          ...problems({ 404: "There is no such file." }),
        },
      }),
      async (c) => await file(c, bundle, c.req.param("name") ?? "") ?? notThere(c),
    ),
  );
  return app;
}

async function file(c: RequestContext, bundle: string, name: string): Promise<Response | null> {
  const found = await readBundledFile(`${bundle}/docs`, name);
  if (!found) return null;
  return c.body(found.bytes, 200, { ...found.headers, "content-security-policy": CONTENT_SECURITY_POLICY });
}

function notThere(c: RequestContext): never {
  throw new HttpProblem(404, `There is nothing at ${c.req.path}.`);
}

function notBuilt(): never {
  throw new HttpProblem(503, "The reference is missing from ui/dist. Run: deno task ui:bundle", {
    headers: { "retry-after": "3" },
  });
}
