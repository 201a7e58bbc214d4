/**
 * The span of a group of orders that is stored together.
 *
 * @module
 */
import { kindOfError, messageOf } from "../shared/errors.ts";
import { failSpan, linksTo, startRootSpan, type Tracer } from "../shared/tracing.ts";
import type { Placement } from "./place_group.ts";

/**
 * Runs `insert` in a span of its own, in a trace of its own: it works for many requests, and belongs to none. Links lead
 * to all of them.
 *
 * Errors: those of `insert`.
 */
export async function inGroupSpan<T>(
  tracer: Tracer,
  group: readonly Placement[],
  insert: () => Promise<T>,
): Promise<T> {
  const span = startRootSpan(tracer, "place orders", {
    attributes: { "orderflow.orders": group.length },
    links: linksTo(group.map(({ created }) => created.traceparent)),
  });
  try {
    return await insert();
  } catch (error) {
    failSpan(span, kindOfError(error), messageOf(error));
    throw error;
  } finally {
    span.end();
  }
}
