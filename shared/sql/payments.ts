/**
 * The table `payments`, written by the payments module alone.
 *
 * @module
 */
import { type Queryable, rowset, uuids } from "./connect.ts";
import type { WritingRows } from "./inbox.ts";

export type PaymentStatus = "SUCCEEDED" | "FAILED" | "REFUND_SUCCEEDED";

export interface NewPayment {
  readonly id: string;
  readonly orderId: string;
  readonly courseId: string;
  readonly amount: string;
  readonly status: Exclude<PaymentStatus, "REFUND_SUCCEEDED">;
  /** Which attempt at the delivery got the provider's answer, from 1. */
  readonly attemptCount: number;
  /** Of the charge; null if and only if the provider refused. */
  readonly providerReference: string | null;
  /** Null if and only if the provider charged. */
  readonly failureReason: string | null;
}

/**
 * Records charges. An order that has a payment keeps it: the table's unique key is the second guard, behind the inbox.
 */
export const insertingPayments: WritingRows<NewPayment> = (sql, payments, now, where) =>
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

/** A payment as refunds see it. */
export type PaymentRow = Pick<NewPayment, "id" | "orderId" | "amount" | "providerReference"> & {
  readonly status: PaymentStatus;
};

/** The payments of the orders `orderIds`, as many as there are. */
export async function findPayments(sql: Queryable, orderIds: readonly string[]): Promise<PaymentRow[]> {
  if (orderIds.length === 0) return [];
  return await sql<PaymentRow[]>`
    select id, order_id as "orderId", amount, status, provider_reference as "providerReference"
    from payments where order_id = any(${uuids(orderIds)}::text::uuid[])`;
}

/** A refund that the provider has made of the payment `id`. */
export interface Refund {
  readonly id: string;
  readonly refundReference: string;
}

/** Records refunds: a payment moves once. No payment may stand twice in `refunds`. */
export const markingRefunded: WritingRows<Refund> = (sql, refunds, now, where) =>
  sql`
    update payments
    set status = 'REFUND_SUCCEEDED', refund_reference = refund."refundReference",
        updated_at = greatest(payments.created_at, ${now})
    from jsonb_to_recordset(${rowset(refunds)}::text::jsonb)
      as refund ("cause" uuid, "id" uuid, "refundReference" text)
    where payments.id = refund."id" and payments.status = 'SUCCEEDED' and ${where}
      and payments.id = any(${uuids(refunds.map(({ id }) => id))}::text::uuid[]) -- by the index
    returning payments.id`;
