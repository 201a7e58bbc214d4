/**
 * The orders module's consumer of `payment.succeeded` and `payment.failed`.
 *
 * @module
 */
import { runConsumerProcess } from "./consumer_process.ts";
import { createOrderEventsHandler } from "./orders/apply_events.ts";

if (import.meta.main) {
  await runConsumerProcess({
    queue: "ordersPaymentEvents",
    role: "orderflow_orders",
    createHandler: createOrderEventsHandler,
  });
}
