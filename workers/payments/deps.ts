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
  { sql, inbox, stop, faults, tracer, config }: HandlerDeps<(typeof PROVIDER_VARIABLES)[number]>,
): PaymentDeps {
  const provider = createFakeProvider({ latencyMs: config.PAYMENT_PROVIDER_LATENCY_MS });
  return {
    sql,
    inbox,
    provider: withProviderSpans(withProviderFaults(provider, inbox.consumer, faults), tracer),
    concurrency: config.PAYMENT_PROVIDER_CONCURRENCY,
    timeoutMs: config.PAYMENT_PROVIDER_TIMEOUT_MS,
    stop,
  };
}
