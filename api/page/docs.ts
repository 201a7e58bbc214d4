/**
 * The API's reference at `/docs`: Swagger UI (https://swagger.io/tools/swagger-ui/) over `/openapi.json`.
 *
 * @module
 */
import { Hono } from "hono";
import { etag } from "hono/etag";
import { type ApiEnv, type App, unavailable } from "../http.ts";
import { route, routes, text } from "../openapi/route.ts";
import { bundledFile, contentPolicy, fileRoute } from "./files.ts";

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
