/**
 * What both consumers of the payments module hand to their handlers.
 *
 * @module
 */
import type { HandlerDeps } from "../consumer.ts";
import { withProviderFaults } from "../faults/seams.ts";
import {
  createFakeProvider,
  type PaymentDeps,
  type PROVIDER_VARIABLES,
  withProviderSpans,
} from "./provider.ts";

/** Adds the provider to what every handler gets: the fake one, called as the configuration says. */
export function paymentDeps(
  { config, faults, tracer, ...deps }: HandlerDeps<(typeof PROVIDER_VARIABLES)[number]>,
): PaymentDeps {
  const provider = createFakeProvider({ latencyMs: config.PAYMENT_PROVIDER_LATENCY_MS });
  return {
    ...deps,
    provider: withProviderSpans(withProviderFaults(provider, deps.consumer, faults), tracer),
    concurrency: config.PAYMENT_PROVIDER_CONCURRENCY,
    timeoutMs: config.PAYMENT_PROVIDER_TIMEOUT_MS,
  };
}
