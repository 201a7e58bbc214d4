/**
 * The payments module's consumer of `order.created`: charges orders.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import type { HandleBatch, Outcome } from "../shared/broker/settle.ts";
import { type DomainEvent, type ReceivedEvent, tell } from "../shared/events.ts";
import { once } from "../shared/sql/inbox.ts";
import { findPayments, insertingPayments, type NewPayment } from "../shared/sql/payments.ts";
import { runProcess } from "../shared/process/run.ts";
import { consumerScript, type Decision } from "./consumer.ts";
import { paymentDeps } from "./payments/deps.ts";
import {
  type ChargeResult,
  createPendingCalls,
  type PaymentDeps,
  PROVIDER_VARIABLES,
} from "./payments/provider.ts";

type OrderCreated = ReceivedEvent<"order.created">;

/** Decides what the provider's answer means for the order: a payment either way, and what is told of it. */
function decidePayment({ event, attempt }: OrderCreated, result: ChargeResult): Decision<NewPayment> {
  const { orderId, courseId, amount } = event.data;
  const payment = { id: uuidv7(), orderId, courseId, amount, attemptCount: attempt };
  if (result.kind === "charged") {
    return {
      row: { ...payment, status: "SUCCEEDED", providerReference: result.reference, failureReason: null },
      tells: tell("payment.succeeded", { orderId, paymentId: payment.id, courseId, amount }),
      note: `charged ${amount}`,
    };
  }
  return {
    row: { ...payment, status: "FAILED", providerReference: null, failureReason: result.reason },
    tells: tell("payment.failed", { orderId, paymentId: payment.id, reason: result.reason }),
    note: result.reason,
  };
}

/**
 * Makes the handler. It asks the provider first, for the whole batch at once and with no transaction open, then records
 * the answers in one statement. Killed in between, it asks again with the same idempotency key and gets the same charge.
 *
 * A provider forgets its keys some day, and so does the inbox; the table never does. So of whatever may be a repeat the
 * payment is looked up first, and an order that has one never reaches the provider again. What is fresh is not looked
 * up: that would cost every order a round trip. An order whose answer takes longer is looked at again.
 */
export function charge(deps: PaymentDeps): HandleBatch<DomainEvent<"order.created">> {
  const { sql, inbox, provider } = deps;
  const calls = createPendingCalls<ChargeResult>(deps);
  return async (orders) => {
    const suspected = orders.filter(({ mayBeRepeat }) => mayBeRepeat).map(orderOf);
    const paid = new Set((await findPayments(sql, suspected)).map(({ orderId }) => orderId));
    const unpaid = orders.filter((order) => !paid.has(orderOf(order)));
    const answers = await calls.answers(
      new Map(unpaid.map((order) => [orderOf(order), (signal) => provider.charge(requestOf(order), signal)])),
    );
    const effects = unpaid.flatMap((cause) => {
      const answer = answers.get(orderOf(cause));
      return answer?.ok ? [{ cause, ...decidePayment(cause, answer.value) }] : [];
    });
    const repeats = orders.filter((order) => paid.has(orderOf(order))).map(({ event }) => event.eventId);
    const recorded = await once(inbox, effects, insertingPayments, new Date(), repeats);
    calls.forget(answers.keys());
    const notes = new Map(effects.map(({ cause, note }) => [cause.event.eventId, note]));
    return orders.map((order): Outcome => {
      const { eventId } = order.event;
      if (paid.has(orderOf(order))) return { kind: "duplicate" };
      const answer = answers.get(orderOf(order));
      if (!answer) return { kind: "waiting" };
      if (!answer.ok) return { kind: "failed", error: answer.error };
      return recorded.has(eventId) ? { kind: "done", note: notes.get(eventId) ?? "" } : { kind: "duplicate" };
    });
  };
}

function orderOf({ event }: OrderCreated): string {
  return event.data.orderId;
}

function requestOf({ event: { correlationId, data }, traceparent }: OrderCreated) {
  const { orderId, courseId, amount } = data;
  return { idempotencyKey: orderId, amount, metadata: { orderId, courseId, correlationId }, traceparent };
}

export const script = consumerScript({
  queue: "paymentsOrderCreated",
  role: "orderflow_payments",
  variables: PROVIDER_VARIABLES,
  handle: (deps) => charge(paymentDeps(deps)),
});

if (import.meta.main) await runProcess(script);
