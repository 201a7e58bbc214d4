/**
 * The route `/ops/audit`.
 *
 * @module
 */
import { Hono } from "hono";
import type { Audit } from "../../shared/ops/audit.ts";
import type { App, CorrelationEnv } from "../correlation.ts";
import { describeRoutes } from "../openapi/describe.ts";
import { HttpProblem, parseOr400 } from "../http.ts";
import { auditQuerySchema, readAudit } from "./ops_contract.ts";

export interface AuditDeps {
  /** Audits the whole database; `graceSeconds` is how long what follows from an event may take. */
  readonly audit: (graceSeconds: number) => Promise<Audit>;
}

/**
 * Audits on request, one audit at a time: each reads all that there is. Who asks the same question meanwhile gets the same
 * answer; for another grace there is a 503.
 */
export function auditRoutes({ audit }: AuditDeps): App {
  const app = new Hono<CorrelationEnv>();
  let underWay: { readonly graceSeconds: number; readonly answer: Promise<Audit> } | null = null;

  app.get("/", async (c) => {
    const { graceSeconds } = parseOr400(auditQuerySchema, c.req.query(), "query");
    if (underWay && underWay.graceSeconds !== graceSeconds) {
      throw new HttpProblem(503, "An audit is under way. Ask again when it has its answer.", {
        headers: { "retry-after": "5" },
      });
    }
    underWay ??= { graceSeconds, answer: audit(graceSeconds).finally(() => underWay = null) };
    return c.json(await underWay.answer);
  });

  return describeRoutes(app, { "GET /": readAudit });
}
