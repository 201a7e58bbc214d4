/**
 * The orders module's consumer of `enrollment.granted`, `enrollment.failed` and `refund.succeeded`.
 *
 * @module
 */
import { runConsumerProcess } from "./consumer.ts";
import { createOrderEventsHandler, createTransitionCounter } from "./orders/move_orders.ts";

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
