/**
 * The orders module's consumer of `enrollment.granted`, `enrollment.failed` and `refund.succeeded`.
 *
 * @module
 */
import { runConsumer } from "./consumer.ts";
import { moveEach } from "./orders/move_orders.ts";

if (import.meta.main) {
  await runConsumer({ queue: "ordersLifecycleEvents", role: "orderflow_orders", handle: moveEach });
}
