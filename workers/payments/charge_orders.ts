/**
 * Charges the orders of a batch of `order.created`.
 *
 * @module
 */
import pMap from "p-map";
import { v7 as uuidv7 } from "uuid";
import type { ReceivedEvent } from "../../shared/broker/delivery.ts";
import type { HandleBatch } from "../../shared/broker/judge_batch.ts";
import type { Verdict } from "../../shared/broker/next_step.ts";
import { type DomainEvent, makeEvent, type OutgoingEvent } from "../../shared/events/catalog.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import type { OutboxWaker } from "../../shared/sql/outbox_wakeup.ts";
import { insertPayments, type NewPayment } from "../../shared/sql/payments.ts";
import { processOnce } from "../../shared/sql/process_once.ts";
import { findProcessed } from "../../shared/sql/processed_events.ts";
import { type Answered, callProvider, type ChargeResult, type PaymentProvider } from "./payment_provider.ts";

/** What the handler is made of. */
export interface ChargeDeps {
  /** A pool that may write `payments`, the inbox and the outbox. */
  readonly sql: Sql;
  /** The consumer's name, for the inbox. */
  readonly consumer: string;
  /** Wakes the relay after a batch that recorded something. */
  readonly waker: OutboxWaker;
  /** Who charges and refunds. */
  readonly provider: PaymentProvider;
  /** The most calls to the provider at once. */
  readonly concurrency: number;
  /** How long one call may take, in milliseconds. */
  readonly timeoutMs: number;
}

type Created = ReceivedEvent & { readonly event: DomainEvent<"order.created"> };

interface Settled {
  readonly received: Created;
  readonly payment: NewPayment;
}

/**
 * Makes the handler. It asks the provider first, for the whole batch at once and with no transaction open, then records
 * all answers in one transaction. Killed in between, it asks again with the same idempotency key and gets the same
 * charge. What the inbox already has is not asked for again.
 */
export function createChargeHandler(deps: ChargeDeps): HandleBatch {
  return async (events) => {
    const created = events.filter(isCreated);
    const processed = await findProcessed(deps.sql, deps.consumer, created.map(({ event }) => event.eventId));
    const answers = await chargeAll(deps, created.filter(({ event }) => !processed.has(event.eventId)));
    const fresh = await record(deps, [...answers].flatMap(toSettled));
    return events.map((received): Verdict => {
      const { event } = received;
      if (!isCreated(received)) {
        return {
          kind: "rejected",
          reason: "unexpected type",
          detail: `${event.type} is not for this consumer`,
        };
      }
      const answer = answers.get(received);
      if (answer && !answer.ok) return { kind: "failed", error: answer.error };
      if (!answer || !fresh.has(event.eventId)) return { kind: "duplicate" };
      return { kind: "done", note: noteOf(answer.value, received) };
    });
  };
}

function isCreated(received: ReceivedEvent): received is Created {
  return received.event.type === "order.created";
}

async function chargeAll(
  { provider, concurrency, timeoutMs }: ChargeDeps,
  created: readonly Created[],
): Promise<Map<Created, Answered<ChargeResult>>> {
  const answers = await pMap(created, (received) => {
    const { orderId, courseId, amount } = received.event.data;
    const request = { idempotencyKey: orderId, amount, metadata: { orderId, courseId } };
    return callProvider((signal) => provider.charge(request, signal), timeoutMs);
  }, { concurrency });
  return new Map(created.flatMap((received, i) => answers[i] ? [[received, answers[i]]] : []));
}

function toSettled([received, answer]: [Created, Answered<ChargeResult>]): Settled[] {
  if (!answer.ok) return [];
  const { orderId, courseId, amount } = received.event.data;
  const charged = answer.value.kind === "charged" ? answer.value : null;
  const declined = answer.value.kind === "declined" ? answer.value : null;
  const payment: NewPayment = {
    id: uuidv7(),
    orderId,
    courseId,
    amount,
    status: charged ? "SUCCEEDED" : "FAILED",
    attemptCount: received.attempt,
    providerReference: charged?.reference ?? null,
    failureReason: declined?.reason ?? null,
  };
  return [{ received, payment }];
}

async function record(
  { sql, consumer, waker }: ChargeDeps,
  settled: readonly Settled[],
): Promise<Set<string>> {
  if (settled.length === 0) return new Set();
  const now = new Date();
  const ids = settled.map(({ received }) => received.event.eventId);
  const fresh = await processOnce(sql, consumer, ids, now, async (tx, fresh) => {
    const ours = settled.filter(({ received }) => fresh.has(received.event.eventId));
    const inserted = await insertPayments(tx, ours.map(({ payment }) => payment), now);
    return ours.filter(({ payment }) => inserted.has(payment.id)).map((one) => outcomeOf(one, now));
  });
  waker.wake();
  return fresh;
}

function outcomeOf({ received, payment }: Settled, now: Date): OutgoingEvent {
  const cause = { correlationId: received.event.correlationId, traceparent: received.traceparent };
  const { orderId, courseId, amount, id: paymentId } = payment;
  return payment.failureReason === null
    ? makeEvent("payment.succeeded", { orderId, paymentId, courseId, amount }, cause, now)
    : makeEvent("payment.failed", { orderId, paymentId, reason: payment.failureReason }, cause, now);
}

function noteOf(result: ChargeResult, { event }: Created): string {
  return result.kind === "charged" ? `charged ${event.data.amount}` : result.reason;
}
