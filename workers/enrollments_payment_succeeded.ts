/**
 * The enrollments module's consumer of `payment.succeeded`: decides seats.
 *
 * @module
 */
import { runConsumerProcess } from "./consumer_process.ts";
import { createEnrollHandler } from "./enrollments/enroll_orders.ts";

if (import.meta.main) {
  await runConsumerProcess({
    queue: "enrollmentsPaymentSucceeded",
    role: "orderflow_enrollments",
    createHandler: createEnrollHandler,
  });
}
