/**
 * The payments module's consumer of `refund.requested`: gives charges back, the compensation of the saga
 * (https://microservices.io/patterns/data/saga.html).
 *
 * @module
 */
import type { HandleBatch, Outcome } from "../shared/broker/settle.ts";
import { type DomainEvent, type ReceivedEvent, tell } from "../shared/events.ts";
import { type Effect, once } from "../shared/sql/inbox.ts";
import { findPayments, markingRefunded, type PaymentRow, type Refund } from "../shared/sql/payments.ts";
import { runProcess } from "../shared/process/run.ts";
import { consumerScript } from "./consumer.ts";
import { paymentDeps } from "./payments/deps.ts";
import {
  createPendingCalls,
  type PaymentDeps,
  PROVIDER_VARIABLES,
  type Refunded,
} from "./payments/provider.ts";

/** What is to be done about a requested refund, from what the table says of the payment. */
type RefundDecision =
  | { readonly kind: "refund"; readonly payment: PaymentRow & { readonly providerReference: string } }
  | { readonly kind: "already-there" }
  | { readonly kind: "never"; readonly detail: string };

/** Decides on a refund. Only a charge that succeeded can be given back. */
function decideRefund(payment: PaymentRow | undefined): RefundDecision {
  if (!payment) return { kind: "never", detail: "the order has no payment" };
  if (payment.status === "REFUND_SUCCEEDED") return { kind: "already-there" };
  if (payment.providerReference === null) return { kind: "never", detail: "the order's payment failed" };
  return { kind: "refund", payment: { ...payment, providerReference: payment.providerReference } };
}

type RefundRequested = ReceivedEvent<"refund.requested">;
type Payment = Extract<RefundDecision, { kind: "refund" }>["payment"];

/** Makes the handler. Like charges: the provider first, with no transaction open; then one statement for all. */
export function refund(deps: PaymentDeps): HandleBatch<DomainEvent<"refund.requested">> {
  const { sql, inbox, provider } = deps;
  const calls = createPendingCalls<Refunded>(deps);
  return async (requests) => {
    const payments = await findPayments(sql, requests.map(({ event }) => event.data.orderId));
    const byOrder = new Map(payments.map((payment) => [payment.orderId, payment]));
    const decided = requests.map((cause) => {
      return { cause, decision: decideRefund(byOrder.get(cause.event.data.orderId)) };
    });
    const answers = await calls.answers(
      new Map(decided.flatMap(({ cause, decision }) => {
        if (decision.kind !== "refund") return [];
        const request = requestOf(cause, decision.payment);
        return [[decision.payment.id, (signal: AbortSignal) => provider.refund(request, signal)]];
      })),
    );
    const effects = new Map<string, Effect<Refund>>(); // by payment: a second request for one is a repeat
    const repeats: string[] = [];
    for (const { cause, decision } of decided) {
      const answer = decision.kind === "refund" ? answers.get(decision.payment.id) : undefined;
      if (decision.kind === "refund" && answer?.ok && !effects.has(decision.payment.id)) {
        effects.set(decision.payment.id, effectOf(cause, decision.payment, answer.value));
      } else if (decision.kind === "already-there" || answer?.ok) repeats.push(cause.event.eventId);
    }
    const recorded = await once(inbox, [...effects.values()], markingRefunded, new Date(), repeats);
    calls.forget(answers.keys());
    return decided.map(({ cause, decision }): Outcome => {
      if (decision.kind === "never") {
        return { kind: "rejected", reason: "illegal refund", detail: decision.detail };
      }
      if (decision.kind === "already-there") return { kind: "duplicate" };
      const answer = answers.get(decision.payment.id);
      if (!answer) return { kind: "waiting" };
      if (!answer.ok) return { kind: "failed", error: answer.error };
      if (!recorded.has(cause.event.eventId)) return { kind: "duplicate" };
      return { kind: "done", note: `refunded ${decision.payment.amount}` };
    });
  };
}

function requestOf({ event, traceparent }: RefundRequested, { id, amount, providerReference }: Payment) {
  const metadata = { orderId: event.data.orderId, correlationId: event.correlationId };
  return { idempotencyKey: id, chargeReference: providerReference, amount, metadata, traceparent };
}

function effectOf(cause: RefundRequested, { id, orderId }: Payment, { reference }: Refunded): Effect<Refund> {
  const tells = tell("refund.succeeded", { orderId, paymentId: id });
  return { cause, row: { id, refundReference: reference }, tells };
}

export const script = consumerScript({
  queue: "paymentsRefundRequested",
  role: "orderflow_payments",
  variables: PROVIDER_VARIABLES,
  handle: (deps) => refund(paymentDeps(deps)),
});

if (import.meta.main) await runProcess(script);
