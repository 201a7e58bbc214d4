/**
 * Faults between the payments module and its provider.
 *
 * @module
 */
import { TransientError } from "../../shared/errors.ts";
import { FAULT_POINTS } from "../../shared/faults/fault_points.ts";
import { aborted, pause } from "../../shared/stop.ts";
import type { PaymentProvider } from "../payments/payment_provider.ts";
import type { Faults } from "./armed_faults.ts";

/** A provider that is slow, failing or silent where that is armed for `consumer`; without faults the one it wraps. */
export function withProviderFaults(
  provider: PaymentProvider,
  consumer: string,
  faults: Faults | null,
): PaymentProvider {
  if (!faults) return provider;

  async function before(correlationId: string, signal: AbortSignal): Promise<void> {
    if (!await faults?.anyArmed()) return;
    const target = { consumers: [consumer], correlationIds: [correlationId] };
    if (await faults?.strike("provider.failing", target)) {
      throw new TransientError("the payment provider cannot now");
    }
    if (await faults?.strike("provider.timeout", target)) await aborted(signal);
    const slow = await faults?.strike("provider.slow", target);
    if (slow) await pause(slow.delayMs ?? FAULT_POINTS["provider.slow"].delayMs, signal);
    signal.throwIfAborted();
  }

  return {
    async charge(request, signal) {
      await before(request.metadata.correlationId, signal);
      return await provider.charge(request, signal);
    },
    async refund(request, signal) {
      await before(request.metadata.correlationId, signal);
      return await provider.refund(request, signal);
    },
  };
}
