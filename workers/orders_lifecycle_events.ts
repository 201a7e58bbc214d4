/**
 * The orders module's consumer of `enrollment.granted`, `enrollment.failed` and `refund.succeeded`.
 *
 * @module
 */
import { runConsumerProcess } from "./consumer_process.ts";
import { createOrderEventsHandler } from "./orders/apply_events.ts";

if (import.meta.main) {
  await runConsumerProcess({
    queue: "ordersLifecycleEvents",
    role: "orderflow_orders",
    createHandler: createOrderEventsHandler,
  });
}
