/**
 * What the page asks the API's routes for.
 *
 * @module
 */
import type { OrderStatus } from "../shared/order_status.ts";
import type { ArmedFaultJson } from "../shared/ops/answers.ts";

/** The page of a list. */
export interface PageQuery {
  /** Rows at most, from 1 to 100; 20 unless told. */
  readonly limit?: number | undefined;
  /** The `nextCursor` of the page before. */
  readonly cursor?: string | null | undefined;
}

/** Which orders to list. */
export interface OrdersQuery extends PageQuery {
  /** Only those in this status. */
  readonly status?: OrderStatus | null | undefined;
  /** Only those whose id begins with this. */
  readonly search?: string | undefined;
}

/** Which events of the outbox to list. */
export interface OutboxQuery extends PageQuery {
  /** Only events of this type. */
  readonly type?: string | undefined;
  /** Only events about this order. */
  readonly orderId?: string | undefined;
  /** Only those that the broker has confirmed, or only those that wait. */
  readonly published?: boolean | undefined;
}

/** Which rows of the inbox to list. */
export interface InboxQuery extends PageQuery {
  /** Only rows of this consumer. */
  readonly consumer?: string | undefined;
  /** Only rows of this event. */
  readonly eventId?: string | undefined;
}

/** Which open dead letters to deal with: those that match all that is given. */
export interface LetterSelection {
  /** Only letters of this consumer. */
  readonly consumer?: string | undefined;
  /** Only letters with this reason. */
  readonly reason?: string | undefined;
  /** Only letters about this order. */
  readonly orderId?: string | undefined;
}

/** Which dead letters to list. */
export interface DeadLettersQuery extends PageQuery, LetterSelection {
  /** Only letters in this state. */
  readonly state?: string | undefined;
}

/** Which events to replay; at least one field. Times are ISO 8601 with an offset. */
export interface ReplayQuery extends LetterSelection {
  /** Only events of this type. */
  readonly type?: string | undefined;
  /** Only events from this time on. */
  readonly from?: string | undefined;
  /** Only events before this time. */
  readonly to?: string | undefined;
  /** Only events with this correlation id. */
  readonly correlationId?: string | undefined;
}

/** A fault to arm. */
export type FaultRequest = Omit<ArmedFaultJson, "id" | "createdAt">;
