/**
 * The payments module's consumer of `refund.requested`: gives charges back, the compensation of the saga
 * (https://microservices.io/patterns/data/saga.html).
 *
 * @module
 */
import type { ReceivedEvent } from "../shared/broker/message.ts";
import type { HandleBatch, Verdict } from "../shared/broker/settle.ts";
import { makeEvent, type OutgoingEvent } from "../shared/events.ts";
import { findPayments, markRefunded, type PaymentRow, type Refund } from "../shared/sql/payments.ts";
import { processOnce } from "../shared/sql/inbox.ts";
import {
  type Answered,
  callProvider,
  createPendingCalls,
  type PaymentDeps,
  PROVIDER_VARIABLES,
} from "./payments/provider.ts";
import { runConsumerProcess } from "./consumer.ts";
import { paymentDeps } from "./payments/deps.ts";

/** What is to be done about a requested refund, from what the table says of the payment. */
export type RefundDecision =
  | { readonly kind: "refund"; readonly payment: PaymentRow & { readonly providerReference: string } }
  /** It has been refunded: a repeat. */
  | { readonly kind: "already-there" }
  | { readonly kind: "never"; readonly detail: string };

/** Decides on a refund. Only a charge that succeeded can be given back. */
export function decideRefund(payment: PaymentRow | undefined): RefundDecision {
  if (!payment) return { kind: "never", detail: "the order has no payment" };
  if (payment.status === "REFUND_SUCCEEDED") return { kind: "already-there" };
  if (payment.providerReference === null) return { kind: "never", detail: "the order's payment failed" };
  return { kind: "refund", payment: { ...payment, providerReference: payment.providerReference } };
}

type Received = ReceivedEvent<"refund.requested">;

interface Requested {
  readonly received: Received;
  readonly decision: RefundDecision;
  /** The provider's answer; undefined while there is none, or where it is not asked. */
  readonly answer: Answered<Refunded> | undefined;
}

interface Refunded {
  readonly reference: string;
}

/** Makes the handler. Like charges: the provider first, with no transaction open; then one transaction for all. */
export function createRefundHandler(deps: PaymentDeps): HandleBatch<"refund.requested"> {
  const { sql, consumer, waker } = deps;
  const calls = createPendingCalls<Refunded>(deps);
  return async (events) => {
    const payments = await findPayments(sql, events.map(({ event }) => event.data.orderId));
    const byOrder = new Map(payments.map((payment) => [payment.orderId, payment]));
    const decided = events.map((received) => ({
      received,
      decision: decideRefund(byOrder.get(received.event.data.orderId)),
    }));
    const answers = await calls.answers(new Map(decided.flatMap((one) => callOf(deps, one))));
    const requested = decided.map((one) => ({ ...one, answer: answers.get(one.received.event.eventId) }));
    const answered = requested.filter(isSettled);
    const now = new Date();
    const ids = answered.map(({ received }) => received.event.eventId);
    const recorded = await processOnce(sql, consumer, ids, now, async (tx, fresh) => {
      const refunds = answered.filter(({ received }) => fresh.has(received.event.eventId)).flatMap(toRefund);
      // By payment: two requests for the same one are one refund.
      const ours = [...new Map(refunds.map((one) => [one.refund.paymentId, one])).values()];
      const moved = await markRefunded(tx, ours.map(({ refund }) => refund), now);
      return ours.filter(({ refund }) => moved.has(refund.paymentId)).map(({ refund, received }) => ({
        cause: received.event.eventId,
        event: refundedEvent(received, refund.paymentId, now),
      }));
    });
    waker.wake();
    calls.forget(answers.keys());
    return requested.map((one) => verdictOf(one, recorded));
  };
}

/** The call that a decision asks for, under the event's id. */
function callOf(
  { provider, timeoutMs, stop }: PaymentDeps,
  { received, decision }: Omit<Requested, "answer">,
): [string, () => Promise<Answered<Refunded>>][] {
  if (decision.kind !== "refund") return [];
  const { eventId, correlationId, data: { orderId } } = received.event;
  const { id, amount, providerReference } = decision.payment;
  const metadata = { orderId, correlationId };
  const { traceparent } = received;
  const request = { idempotencyKey: id, chargeReference: providerReference, amount, metadata, traceparent };
  return [[eventId, () => callProvider((signal) => provider.refund(request, signal), timeoutMs, stop)]];
}

/** Whether the event is through with: refunded, or a repeat. */
function isSettled({ decision, answer }: Requested): boolean {
  return decision.kind === "already-there" || (answer?.ok ?? false);
}

function toRefund({ received, decision, answer }: Requested): { received: Received; refund: Refund }[] {
  if (decision.kind !== "refund" || !answer?.ok) return [];
  return [{ received, refund: { paymentId: decision.payment.id, refundReference: answer.value.reference } }];
}

function refundedEvent({ event, traceparent }: Received, paymentId: string, now: Date): OutgoingEvent {
  const cause = { correlationId: event.correlationId, traceparent };
  return makeEvent("refund.succeeded", { orderId: event.data.orderId, paymentId }, cause, now);
}

function verdictOf({ received, decision, answer }: Requested, recorded: ReadonlySet<string>): Verdict {
  if (decision.kind === "never") {
    return { kind: "rejected", reason: "illegal refund", detail: decision.detail };
  }
  if (decision.kind === "refund" && !answer) return { kind: "waiting" };
  if (answer && !answer.ok) return { kind: "failed", error: answer.error };
  if (!recorded.has(received.event.eventId) || decision.kind !== "refund") return { kind: "duplicate" };
  return { kind: "done", note: `refunded ${decision.payment.amount}` };
}

if (import.meta.main) {
  await runConsumerProcess({
    queue: "paymentsRefundRequested",
    role: "orderflow_payments",
    variables: PROVIDER_VARIABLES,
    createHandler: (deps) => createRefundHandler(paymentDeps(deps)),
  });
}
