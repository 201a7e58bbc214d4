/**
 * `GET /openapi.json`: the API, described in OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1) out of what its routes
 * say of themselves.
 *
 * @module
 */
import { Hono } from "hono";
import { type GenerateSpecOptions, openAPIRouteHandler } from "hono-openapi";
import { z } from "zod";
import type { App, CorrelationEnv } from "../correlation.ts";
import { describeRoutes, json } from "./describe.ts";
import type { Description } from "./description.ts";
import { OPS_COOKIE } from "../ops/access.ts";

const TAGS = [
  { name: "Orders", description: "Buying courses." },
  { name: "Scenarios", description: "Orders that go a certain way, through the normal flow." },
  { name: "Faults", description: "What is made to fail on purpose; only where `FAULTS_ENABLED` is on." },
  { name: "Inspection", description: "How everything stands. Changes nothing." },
  { name: "Outbox", description: "Events on their way to the broker." },
  { name: "Dead letters", description: "What consumers gave up on." },
  { name: "Replays", description: "Published events, sent to their consumers once more." },
  { name: "Health", description: "For whoever runs the process." },
  { name: "Page", description: "The debug page, this reference, and their files." },
];

/**
 * Describes `app` as it is when it is first asked, in itself and all that it has routes for. Open to everyone, as
 * `/healthz` is: it says nothing that the sources do not, and a client needs it before it has a token.
 */
export function openApiRoutes(app: App): App {
  const routes = new Hono<CorrelationEnv>();
  routes.get(
    "/openapi.json",
    openAPIRouteHandler(app, { documentation: documentation(), excludeStaticFile: false }),
  );
  return describeRoutes(routes, { "GET /openapi.json": describeItself });
}

function describeItself(): Description {
  return {
    operationId: "readOpenApi",
    tags: ["Page"],
    summary: "This description",
    responses: { 200: json("OpenAPI 3.1.", z.record(z.string(), z.unknown())) },
  };
}

function documentation(): GenerateSpecOptions["documentation"] {
  return {
    info: {
      title: "OrderFlow",
      version: "1",
      description:
        "The purchase of a course as an event-driven workflow. Errors are problem details (RFC 9457). " +
        "What goes over the broker is described in specs/asyncapi.yaml.",
    },
    servers: [{ url: "/", description: "This server." }],
    tags: TAGS,
    components: {
      securitySchemes: {
        opsToken: { type: "http", scheme: "bearer", description: "The value of `OPS_TOKEN`." },
        opsCookie: {
          type: "apiKey",
          in: "cookie",
          name: OPS_COOKIE,
          description: "Of whoever has signed in on the page.",
        },
      },
    },
  };
}
