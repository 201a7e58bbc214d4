/**
 * The API's reference at `/docs`: Swagger UI (https://swagger.io/tools/swagger-ui/) over `/openapi.json`.
 *
 * @module
 */
import { Hono } from "hono";
import { etag } from "hono/etag";
import type { App, CorrelationEnv } from "../correlation.ts";
import { answer, describeRoutes, mediaType, problems } from "../openapi/describe.ts";
import type { Description } from "../openapi/description.ts";
import { HttpProblem, type RequestContext } from "../http.ts";
import { readBundledFile } from "./files.ts";

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

  app.get("/", async (c) => {
    const page = await fileOf(c, bundle, "index.html");
    if (page) return page;
    throw new HttpProblem(503, "The reference is missing from ui/dist. Run: deno task ui:bundle", {
      headers: { "retry-after": "3" },
    });
  });

  app.get("/:name", async (c) => {
    const file = await fileOf(c, bundle, c.req.param("name"));
    if (!file) throw new HttpProblem(404, `There is nothing at ${c.req.path}.`);
    return file;
  });

  return describeRoutes(app, { "GET /": describeReference, "GET /:name": describeFile });
}

async function fileOf(c: RequestContext, bundle: string, name: string): Promise<Response | null> {
  const file = await readBundledFile(`${bundle}/docs`, name);
  if (!file) return null;
  return c.body(file.bytes, 200, { ...file.headers, "content-security-policy": CONTENT_SECURITY_POLICY });
}

function describeReference(): Description {
  return {
    operationId: "readReference",
    tags: ["Page"],
    summary: "This reference",
    responses: {
      200: answer("The reference.", mediaType("text/html")),
      ...problems({ 503: "It is not built." }),
    },
  };
}

function describeFile(): Description {
  return {
    operationId: "readReferenceFile",
    tags: ["Page"],
    summary: "The reference's script and styles",
    parameters: [{
      name: "name",
      in: "path",
      required: true,
      schema: { type: "string" },
      description: "As the reference names it.",
      example: "reference.js",
    }],
    responses: {
      200: answer("The file.", { ...mediaType("text/javascript"), ...mediaType("text/css") }),
      ...problems({ 404: "There is no such file." }),
    },
  };
}
