/**
 * The table `payments`, written by the payments module alone.
 *
 * @module
 */
import { type Caused, type Queryable, rowset, type Statement, uuids } from "./connect.ts";

/** The states of a payment. */
export type PaymentStatus = "SUCCEEDED" | "FAILED" | "REFUND_SUCCEEDED";

/** A settled charge on its way into the table: a reference where it succeeded, a reason where it was refused. */
export interface NewPayment {
  /** The payment's id, a version 7 uuid. */
  readonly id: string;
  /** The order that is charged; it has one payment. */
  readonly orderId: string;
  /** What is paid for. */
  readonly courseId: string;
  /** A decimal string of two places. */
  readonly amount: string;
  /** Whether the provider charged or refused. */
  readonly status: "SUCCEEDED" | "FAILED";
  /** Which attempt at the delivery got the provider's answer, from 1. */
  readonly attemptCount: number;
  /** The provider's reference of the charge; null if and only if it refused. */
  readonly providerReference: string | null;
  /** Why the provider refused; null if and only if it charged. */
  readonly failureReason: string | null;
}

/**
 * The statement that records charges, and returns the ids of the payments recorded; `where` is a condition on `cause`.
 * An order that has a payment keeps it: the table's unique key is the second guard, behind the inbox.
 */
export function insertingPayments(
  sql: Queryable,
  payments: readonly Caused<NewPayment>[],
  now: Date,
  where: Statement,
): Statement<{ id: string }> {
  return sql`
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
}

/** A payment as refunds see it. */
export interface PaymentRow {
  /** The payment's id, a version 7 uuid. */
  readonly id: string;
  /** The order that it is for. */
  readonly orderId: string;
  /** A decimal string of two places. */
  readonly amount: string;
  /** What has become of the charge. */
  readonly status: PaymentStatus;
  /** The provider's reference of the charge; null where the charge failed. */
  readonly providerReference: string | null;
}

/** The payments of the orders `orderIds`, as many as there are. */
export async function findPayments(sql: Queryable, orderIds: readonly string[]): Promise<PaymentRow[]> {
  if (orderIds.length === 0) return [];
  return await sql<PaymentRow[]>`
    select id, order_id as "orderId", amount, status, provider_reference as "providerReference"
    from payments where order_id = any(${uuids(orderIds)}::text::uuid[])`;
}

/** A refund that the provider has made. */
export interface Refund {
  /** The id of the payment that was given back. */
  readonly id: string;
  /** The provider's reference of the refund. */
  readonly refundReference: string;
}

/**
 * The statement that records refunds, and returns the ids of the payments that it moved; `where` is a condition on
 * `cause`. A payment moves once; no payment may stand twice in `refunds`.
 */
export function markingRefunded(
  sql: Queryable,
  refunds: readonly Caused<Refund>[],
  now: Date,
  where: Statement,
): Statement<{ id: string }> {
  return sql`
    update payments
    set status = 'REFUND_SUCCEEDED', refund_reference = refund."refundReference",
        updated_at = greatest(payments.created_at, ${now})
    from jsonb_to_recordset(${
    rowset(refunds)
  }::text::jsonb) as refund ("cause" uuid, "id" uuid, "refundReference" text)
    where payments.id = refund."id" and payments.status = 'SUCCEEDED' and ${where}
      and payments.id = any(${uuids(refunds.map(({ id }) => id))}::text::uuid[]) -- by the index
    returning payments.id`;
}
