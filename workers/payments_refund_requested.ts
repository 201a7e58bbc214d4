// The payments module's consumer of `refund.requested`: gives charges back, the compensation of the saga
// (https://microservices.io/patterns/data/saga.html).

import type { HandleBatch } from "../shared/broker/settle.ts";
import { type DomainEvent, type ReceivedEvent, tell } from "../shared/events.ts";
import { runProcess } from "../shared/process/run.ts";
import { rowset, uuids } from "../shared/sql/connect.ts";
import type { WritingRows } from "../shared/sql/inbox.ts";
import { consumerScript } from "./consumer.ts";
import { askProvider, type PaymentDeps } from "./payments/ask_provider.ts";
import { paymentDeps, PROVIDER_VARIABLES, type Refunded } from "./payments/provider.ts";

/** A refund that the provider has made of the payment `id`. */
interface Refund {
  readonly id: string;
  readonly refundReference: string;
}

/** Records refunds: a payment moves once. No payment may stand twice in `refunds`. */
const markingRefunded: WritingRows<Refund> = (sql, refunds, now, where) =>
  sql`
    update payments
    set status = 'REFUND_SUCCEEDED', refund_reference = refund."refundReference",
        updated_at = greatest(payments.created_at, ${now})
    from jsonb_to_recordset(${rowset(refunds)}::text::jsonb)
      as refund ("cause" uuid, "id" uuid, "refundReference" text)
    where payments.id = refund."id" and payments.status = 'SUCCEEDED' and ${where}
      and payments.id = any(${uuids(refunds.map(({ id }) => id))}::text::uuid[]) -- by the index
    returning payments.id`;

const illegal = (detail: string) => ({ kind: "rejected", reason: "illegal refund", detail } as const);

/** Makes the handler. Like charges; only a charge that succeeded can be given back, as the table says. */
export function refund(deps: PaymentDeps): HandleBatch<DomainEvent<"refund.requested">> {
  return askProvider(deps, {
    writing: markingRefunded,
    next({ event, traceparent }: ReceivedEvent<"refund.requested">, payment) {
      if (!payment) return illegal("the order has no payment");
      const { id, orderId, amount, status, providerReference: chargeReference } = payment;
      if (status === "REFUND_SUCCEEDED") return { kind: "duplicate" };
      if (chargeReference === null) return illegal("the order's payment failed");
      const metadata = { orderId, correlationId: event.correlationId };
      const request = { idempotencyKey: id, chargeReference, amount, metadata, traceparent };
      return {
        kind: "ask",
        key: id,
        call: (signal) => deps.provider.refund(request, signal),
        decide: ({ reference }: Refunded) => ({
          row: { id, refundReference: reference },
          tells: tell("refund.succeeded", { orderId, paymentId: id }),
          note: `refunded ${amount}`,
        }),
      };
    },
  });
}

export const script = consumerScript({
  queue: "paymentsRefundRequested",
  role: "orderflow_payments",
  variables: PROVIDER_VARIABLES,
  handle: (deps) => refund(paymentDeps(deps)),
});

if (import.meta.main) await runProcess(script);
