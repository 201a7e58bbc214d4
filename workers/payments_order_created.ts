// The payments module's consumer of `order.created`: charges orders.

import { v7 as uuidv7 } from "uuid";
import type { HandleBatch } from "../shared/broker/settle.ts";
import { type DomainEvent, type ReceivedEvent, tell } from "../shared/events.ts";
import { runProcess } from "../shared/process/run.ts";
import { rowset } from "../shared/sql/connect.ts";
import type { WritingRows } from "../shared/sql/inbox.ts";
import { consumerScript, type Decision } from "./consumer.ts";
import { askProvider, type PaymentDeps, type PaymentRow } from "./payments/ask_provider.ts";
import { type ChargeResult, paymentDeps, PROVIDER_VARIABLES } from "./payments/provider.ts";

interface NewPayment extends PaymentRow {
  readonly courseId: string;
  readonly status: "SUCCEEDED" | "FAILED";
  /** Which attempt at the delivery got the provider's answer, from 1. */
  readonly attemptCount: number;
  /** Null if and only if the provider charged. */
  readonly failureReason: string | null;
}

/** Records charges. An order that has a payment keeps it: the table's unique key is the second guard, behind the inbox. */
const insertingPayments: WritingRows<NewPayment> = (sql, payments, now, where) =>
  sql`
    insert into payments (
      id, order_id, course_id, amount, status, attempt_count, provider_reference, failure_reason, created_at, updated_at
    )
    select
      "id", "orderId", "courseId", "amount", "status", "attemptCount", "providerReference", "failureReason",
      ${now}, ${now}
    from jsonb_to_recordset(${rowset(payments)}::text::jsonb) as new ("cause" uuid, 
      "id" uuid, "orderId" uuid, "courseId" uuid, "amount" numeric, "status" text, "attemptCount" integer,
      "providerReference" text, "failureReason" text
    )
    where ${where}
    on conflict (order_id) do nothing
    returning id`;

/** Decides what the provider's answer means for the order: a payment either way, and what is told of it. */
function decidePayment(
  { event: { data: { orderId, courseId, amount } }, attempt }: ReceivedEvent<"order.created">,
  result: ChargeResult,
): Decision<NewPayment> {
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
 * Makes the handler. It asks the provider first, with no transaction open, then records the answers in one statement.
 * Killed in between, it asks again with the same idempotency key and gets the same charge.
 *
 * A provider forgets its keys some day, and so does the inbox; the table never does. So of whatever may be a repeat the
 * payment is looked up first, and an order that has one never reaches the provider again. What is fresh is not looked
 * up: that would cost every order a round trip.
 */
export function charge(deps: PaymentDeps): HandleBatch<DomainEvent<"order.created">> {
  return askProvider(deps, {
    writing: insertingPayments,
    isLookedUp: ({ mayBeRepeat }) => mayBeRepeat,
    next(order: ReceivedEvent<"order.created">, payment) {
      if (payment) return { kind: "duplicate" };
      const { event: { correlationId, data: { orderId, courseId, amount } }, traceparent } = order;
      const metadata = { orderId, courseId, correlationId };
      const request = { idempotencyKey: orderId, amount, metadata, traceparent };
      return {
        kind: "ask",
        key: orderId,
        call: (signal) => deps.provider.charge(request, signal),
        decide: (result) => decidePayment(order, result),
      };
    },
  });
}

export const script = consumerScript({
  queue: "paymentsOrderCreated",
  role: "orderflow_payments",
  variables: PROVIDER_VARIABLES,
  handle: (deps) => charge(paymentDeps(deps)),
});

if (import.meta.main) await runProcess(script);
