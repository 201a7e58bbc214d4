/**
 * The orders module's consumer of `payment.succeeded` and `payment.failed`.
 *
 * @module
 */
import { runConsumerProcess } from "./consumer.ts";
import { createOrderEventsHandler, createTransitionCounter } from "./orders/move_orders.ts";

if (import.meta.main) {
  await runConsumerProcess({
    queue: "ordersPaymentEvents",
    role: "orderflow_orders",
    createHandler: ({ registry, ...deps }) =>
      createOrderEventsHandler({
        ...deps,
        onMoved: registry ? createTransitionCounter(registry) : undefined,
      }),
  });
}
