/**
 * The orders module's consumer of `payment.succeeded` and `payment.failed`.
 *
 * @module
 */
import { runConsumer } from "./consumer.ts";
import { moveEach } from "./orders/move_orders.ts";

if (import.meta.main) {
  await runConsumer({ queue: "ordersPaymentEvents", role: "orderflow_orders", handle: moveEach });
}
