/**
 * All that one order has come to, in the tables of every module.
 *
 * @module
 */
import type { Sql } from "../../shared/sql/connect.ts";

/** What an order has come to. */
export interface OrderEnd {
  /** Its status. */
  readonly status: string;
  /** Its payments, such as `SUCCEEDED after 1`, which is the number of attempts. */
  readonly payments: readonly string[];
  /** Its seat decisions. */
  readonly seats: readonly string[];
  /** What was told of it. */
  readonly notifications: readonly string[];
  /** The dead letters whose body names it, such as `not JSON after 1`, whatever their state. */
  readonly letters: readonly string[];
}

/** An order that went well, at the first attempt. */
export const COMPLETED: OrderEnd = {
  status: "COMPLETED",
  payments: ["SUCCEEDED after 1"],
  seats: ["GRANTED"],
  notifications: ["ORDER_COMPLETED"],
  letters: [],
};

/** An order whose card was declined. */
export const DECLINED: OrderEnd = {
  status: "PAYMENT_FAILED",
  payments: ["FAILED after 1"],
  seats: [],
  notifications: ["PAYMENT_FAILED"],
  letters: [],
};

/** An order for which there was no seat. */
export const REFUNDED: OrderEnd = {
  status: "REFUNDED",
  payments: ["REFUND_SUCCEEDED after 1"],
  seats: ["FAILED"],
  notifications: ["ORDER_REFUNDED"],
  letters: [],
};

/** An order that nothing has come of yet. */
export const PENDING: OrderEnd = {
  status: "PENDING",
  payments: [],
  seats: [],
  notifications: [],
  letters: [],
};

/** Reads what the order `id` has come to. */
export async function readOrderEnd(sql: Sql, id: string): Promise<OrderEnd> {
  const list = async (query: PromiseLike<readonly { what: string }[]>) =>
    (await query).map(({ what }) => what);
  const [order] = await sql<{ status: string }[]>`select status from orders where id = ${id}`;
  return {
    status: order?.status ?? "",
    payments: await list(sql`
      select status || ' after ' || attempt_count as what from payments where order_id = ${id}`),
    seats: await list(sql`select status as what from enrollments where order_id = ${id}`),
    notifications: await list(sql`select type as what from notifications where order_id = ${id}`),
    letters: await list(sql`
      select reason || ' after ' || attempts as what from dead_letters
      where position(${id} in encode(body, 'escape')) > 0`),
  };
}
