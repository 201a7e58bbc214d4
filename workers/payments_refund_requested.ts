/**
 * The payments module's consumer of `refund.requested`: refunds charges.
 *
 * @module
 */
import { runConsumerProcess } from "./consumer_process.ts";
import { createFakeProvider } from "./payments/fake_provider.ts";
import { PROVIDER_VARIABLES } from "./payments/payment_provider.ts";
import { createRefundHandler } from "./payments/refund_payments.ts";

if (import.meta.main) {
  await runConsumerProcess({
    queue: "paymentsRefundRequested",
    role: "orderflow_payments",
    variables: PROVIDER_VARIABLES,
    createHandler: ({ config, ...deps }) =>
      createRefundHandler({
        ...deps,
        provider: createFakeProvider({ latencyMs: config.PAYMENT_PROVIDER_LATENCY_MS }),
        concurrency: config.PAYMENT_PROVIDER_CONCURRENCY,
        timeoutMs: config.PAYMENT_PROVIDER_TIMEOUT_MS,
      }),
  });
}
