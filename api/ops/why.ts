/**
 * The route `/ops/orders/:id/why`: what an order that is not done waits for.
 *
 * @module
 */
import { whySchema } from "../../shared/ops/answers.ts";
import { listHolds } from "../../shared/ops/holds.ts";
import { readOpenCopies, type Why, whyOf } from "../../shared/ops/why.ts";
import { findOrder } from "../../shared/sql/orders.ts";
import type { AppDeps } from "../deps.ts";
import { found } from "../http.ts";
import { json, type Route, route } from "../openapi/route.ts";

/** Says why an order is not done; a 404 where there is no such order. */
export function whyRoute(
  { opsSql, live, bindings, maxRetries }: Pick<AppDeps, "opsSql" | "live" | "bindings" | "maxRetries">,
): Route {
  return route("GET /orders/:id/why", "readWhy", "Why an order is not done", {
    id: "order",
    description:
      "What it waits for, since when, and the one action that helps. What the broker and the processes tell is a " +
      "second old at most.",
    answers: [json(200, "The cause, and a sentence for people.", whySchema)],
    handle: async ({ id }): Promise<Why> => {
      const copies = await readOpenCopies(opsSql, id, bindings); // first: what is open cannot be behind the order
      const order = found(await findOrder(opsSql, id), `There is no order ${id}.`);
      const holds = await listHolds(opsSql);
      return whyOf(order, copies, { live: await live.read(), bindings, maxRetries, holds });
    },
  });
}
