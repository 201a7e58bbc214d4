/**
 * The orders module's figures for Prometheus.
 *
 * @module
 */
import { Counter } from "prom-client";
import { ORDER_TRANSITIONS } from "../../shared/order_status.ts";
import type { Registry } from "../../shared/process_metrics.ts";
import type { StatusChange } from "../../shared/sql/orders.ts";

/** Makes the counter of transitions in `registry`; what it answers with is to be told of orders that have moved. */
export function createTransitionCounter(registry: Registry): (moved: readonly StatusChange[]) => void {
  const transitions = new Counter({
    name: "orderflow_order_transitions_total",
    help: "Orders that this process has moved from one status to another.",
    labelNames: ["from", "to"],
    registers: [registry],
  });
  for (const { from, to } of ORDER_TRANSITIONS) transitions.inc({ from, to }, 0);
  return (moved) => {
    for (const changes of Map.groupBy(moved, ({ from, to }) => `${from} ${to}`).values()) {
      const [first] = changes;
      if (first) transitions.inc({ from: first.from, to: first.to }, changes.length);
    }
  };
}
