/**
 * The payments module's consumer of `refund.requested`: refunds charges.
 *
 * @module
 */
import { runConsumerProcess } from "./consumer_process.ts";
import { paymentDeps } from "./payments/payment_deps.ts";
import { PROVIDER_VARIABLES } from "./payments/payment_provider.ts";
import { createRefundHandler } from "./payments/refund_payments.ts";

if (import.meta.main) {
  await runConsumerProcess({
    queue: "paymentsRefundRequested",
    role: "orderflow_payments",
    variables: PROVIDER_VARIABLES,
    createHandler: (deps) => createRefundHandler(paymentDeps(deps)),
  });
}
