/**
 * The payments module's consumer of `order.created`: charges orders.
 *
 * @module
 */
import { runConsumerProcess } from "./consumer_process.ts";
import { createChargeHandler } from "./payments/charge_orders.ts";
import { paymentDeps } from "./payments/payment_deps.ts";
import { PROVIDER_VARIABLES } from "./payments/payment_provider.ts";

if (import.meta.main) {
  await runConsumerProcess({
    queue: "paymentsOrderCreated",
    role: "orderflow_payments",
    variables: PROVIDER_VARIABLES,
    createHandler: (deps) => createChargeHandler(paymentDeps(deps)),
  });
}
