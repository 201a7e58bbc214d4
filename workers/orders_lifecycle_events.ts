/**
 * The orders module's consumer of `enrollment.granted`, `enrollment.failed` and `refund.succeeded`.
 *
 * @module
 */
import { runConsumerProcess } from "./consumer_process.ts";
import { createOrderEventsHandler } from "./orders/apply_events.ts";
import { createTransitionCounter } from "./orders/order_metrics.ts";

if (import.meta.main) {
  await runConsumerProcess({
    queue: "ordersLifecycleEvents",
    role: "orderflow_orders",
    createHandler: ({ registry, ...deps }) =>
      createOrderEventsHandler({
        ...deps,
        onMoved: registry ? createTransitionCounter(registry) : undefined,
      }),
  });
}
