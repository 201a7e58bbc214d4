import { assertEquals, assertRejects } from "@std/assert";
import { TransientError } from "../../shared/errors.ts";
import { fakeFaults } from "../../specs/support/fake_faults.ts";
import type { PaymentProvider } from "../payments/payment_provider.ts";
import { withProviderFaults } from "./provider_faults.ts";

const provider: PaymentProvider = {
  charge: () => Promise.resolve({ kind: "charged", reference: "c" }),
  refund: () => Promise.resolve({ reference: "r" }),
};
const charge = (correlationId = "a") => ({
  idempotencyKey: "k",
  amount: "1.00",
  metadata: { orderId: "o", courseId: "c", correlationId },
  traceparent: null,
});
const refund = {
  idempotencyKey: "k",
  chargeReference: "c",
  amount: "1.00",
  metadata: { orderId: "o", correlationId: "a" },
  traceparent: null,
};
const never = new AbortController().signal;

Deno.test("withProviderFaults() without faults is the provider that it wraps", () => {
  assertEquals(withProviderFaults(provider, "payments", null) === provider, true);
});

Deno.test("provider.failing fails so often, charges and refunds alike, and spares others", async () => {
  const faults = fakeFaults({
    point: "provider.failing",
    times: 2,
    correlationId: "a",
    consumer: "payments",
  });
  const failing = withProviderFaults(provider, "payments", faults);
  const other = withProviderFaults(provider, "refunds", faults);
  assertEquals(await other.refund(refund, never), { reference: "r" });
  assertEquals(await failing.charge(charge("b"), never), { kind: "charged", reference: "c" });
  await assertRejects(() => failing.charge(charge(), never), TransientError);
  await assertRejects(() => failing.refund(refund, never), TransientError);
  assertEquals(await failing.refund(refund, never), { reference: "r" });
});

Deno.test("provider.timeout never answers: the caller's time-out ends it", async () => {
  const silent = withProviderFaults(provider, "payments", fakeFaults({ point: "provider.timeout" }));
  const controller = new AbortController();
  const charging = silent.charge(charge(), controller.signal);
  const first = await Promise.race([charging, new Promise((resolve) => setTimeout(resolve, 20, "silence"))]);
  assertEquals(first, "silence");
  controller.abort(new Error("the time is up"));
  await assertRejects(() => charging, Error, "the time is up");
  assertEquals(await silent.charge(charge(), never), { kind: "charged", reference: "c" });
});

Deno.test("provider.slow answers after the delay, and obeys the caller's time-out", async () => {
  const faults = fakeFaults({ point: "provider.slow", times: 2, delayMs: 30 });
  const slow = withProviderFaults(provider, "payments", faults);
  const startedAt = performance.now();
  assertEquals(await slow.charge(charge(), never), { kind: "charged", reference: "c" });
  assertEquals(performance.now() - startedAt >= 25, true);
  await assertRejects(
    () => slow.charge(charge(), AbortSignal.abort(new Error("the time is up"))),
    Error,
    "time",
  );
});
