/**
 * A payment provider that moves no money.
 *
 * @module
 */
import { RESERVED_COURSES } from "../../shared/scenarios.ts";
import type { PaymentProvider } from "./payment_provider.ts";

/**
 * Makes a provider that declines the reserved course for payment failures and charges everything else. Its references
 * are made from the idempotency key, so that, like a real one, it gives the same answer to the same key from every
 * process and after every crash.
 */
export function createFakeProvider(options: { readonly latencyMs: number }): PaymentProvider {
  return {
    async charge({ idempotencyKey, metadata }, signal) {
      await think(options.latencyMs, signal);
      if (metadata.courseId === RESERVED_COURSES.paymentFailure) {
        return { kind: "declined", reason: "card declined" };
      }
      return { kind: "charged", reference: `fake_charge_${idempotencyKey}` };
    },
    async refund({ idempotencyKey }, signal) {
      await think(options.latencyMs, signal);
      return { reference: `fake_refund_${idempotencyKey}` };
    },
  };
}

function think(ms: number, signal: AbortSignal): Promise<void> {
  if (ms === 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
