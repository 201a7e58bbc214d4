/**
 * The payments module's consumer of `order.created`: charges orders.
 *
 * @module
 */
import { runConsumerProcess } from "./consumer_process.ts";
import { createChargeHandler } from "./payments/charge_orders.ts";
import { createFakeProvider } from "./payments/fake_provider.ts";
import { PROVIDER_VARIABLES } from "./payments/payment_provider.ts";

if (import.meta.main) {
  await runConsumerProcess({
    queue: "paymentsOrderCreated",
    role: "orderflow_payments",
    variables: PROVIDER_VARIABLES,
    createHandler: ({ config, ...deps }) =>
      createChargeHandler({
        ...deps,
        provider: createFakeProvider({ latencyMs: config.PAYMENT_PROVIDER_LATENCY_MS }),
        concurrency: config.PAYMENT_PROVIDER_CONCURRENCY,
        timeoutMs: config.PAYMENT_PROVIDER_TIMEOUT_MS,
      }),
  });
}
