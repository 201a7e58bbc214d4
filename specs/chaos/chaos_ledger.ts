/**
 * The ledger of a chaos run: what the client knows of, against what the tables have.
 *
 * @module
 */
import { isFinal, type OrderStatus } from "../../shared/order_status.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import type { Course, LoadResult } from "./load.ts";
import type { Unsettled } from "./settle.ts";

/** What the tables have. */
export interface Books {
  /** The status of every order, by its id. */
  readonly orders: ReadonlyMap<string, OrderStatus>;
  /** Rows beyond one for each order, by table; of the outbox, beyond one of each type. */
  readonly beyondOne: Readonly<Record<string, number>>;
}

/** The ledger. All of the last four are to be 0. */
export interface ChaosLedger {
  /** Orders that the client has an answer for. */
  readonly accepted: number;
  /** Orders in the database, by status. */
  readonly orders: Readonly<Record<string, number>>;
  /** Accepted orders that are not there, and events or messages that have not arrived where they belong. */
  readonly lost: number;
  /** Orders that nobody has been told of, orders that two were told of, and rows beyond one. */
  readonly duplicated: number;
  /** Orders that are not in a final status. */
  readonly stuck: number;
  /** Orders that ended otherwise than their course says. */
  readonly wrong: number;
}

const OUTCOME: Readonly<Record<Course, OrderStatus>> = {
  success: "COMPLETED",
  paymentFailure: "PAYMENT_FAILED",
  enrollmentFailure: "REFUNDED",
};

/** Reads the tables. */
export async function readBooks(sql: Sql): Promise<Books> {
  const orders = await sql<{ id: string; status: OrderStatus }[]>`select id, status from orders`;
  const [beyondOne] = await sql<Record<string, number>[]>`
    select (select count(*) - count(distinct order_id) from payments)::int as payments,
           (select count(*) - count(distinct order_id) from enrollments)::int as enrollments,
           (select count(*) - count(distinct order_id) from notifications)::int as notifications,
           (select count(*) - count(distinct (order_id, type)) from outbox_events)::int as events`;
  return { orders: new Map(orders.map(({ id, status }) => [id, status])), beyondOne: { ...beyondOne } };
}

/** Compares. Pure. */
export function balance(
  { accepted, answeredTwice }: Pick<LoadResult, "accepted" | "answeredTwice">,
  { orders, beyondOne }: Books,
  unsettled: Unsettled,
): ChaosLedger {
  const ids = [...accepted.keys()];
  const statuses = [...orders.values()];
  const byStatus = Map.groupBy(statuses, (status) => status);
  const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
  const isWrong = ([id, course]: readonly [string, Course]) => {
    const status = orders.get(id);
    return status !== undefined && isFinal(status) && status !== OUTCOME[course];
  };
  return {
    accepted: accepted.size,
    orders: Object.fromEntries([...byStatus].map(([status, { length }]) => [status, length])),
    lost: ids.filter((id) => !orders.has(id)).length + sum(Object.values(unsettled)),
    duplicated: [...orders.keys()].filter((id) => !accepted.has(id)).length + answeredTwice +
      sum(Object.values(beyondOne)),
    stuck: statuses.filter((status) => !isFinal(status)).length,
    wrong: [...accepted].filter(isWrong).length,
  };
}
