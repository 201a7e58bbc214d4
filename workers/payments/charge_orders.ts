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
import { makeEvent, type OutgoingEvent } from "../../shared/events/catalog.ts";
import { insertPayments, type NewPayment } from "../../shared/sql/payments.ts";
import { processOnce } from "../../shared/sql/process_once.ts";
import { findProcessed } from "../../shared/sql/processed_events.ts";
import { type Answered, callProvider, type ChargeResult, type PaymentDeps } from "./payment_provider.ts";

type Created = ReceivedEvent<"order.created">;

interface Settled {
  readonly received: Created;
  readonly payment: NewPayment;
}

/**
 * Makes the handler. It asks the provider first, for the whole batch at once and with no transaction open, then records
 * all answers in one transaction. Killed in between, it asks again with the same idempotency key and gets the same
 * charge. What the inbox already has is not asked for again.
 */
export function createChargeHandler(deps: PaymentDeps): HandleBatch<"order.created"> {
  return async (created) => {
    const processed = await findProcessed(deps.sql, deps.consumer, created.map(({ event }) => event.eventId));
    const answers = await chargeAll(deps, created.filter(({ event }) => !processed.has(event.eventId)));
    const recorded = await record(deps, [...answers].flatMap(toSettled), [...processed]);
    return created.map((received): Verdict => {
      const answer = answers.get(received);
      if (answer && !answer.ok) return { kind: "failed", error: answer.error };
      if (!answer || !recorded.has(received.event.eventId)) return { kind: "duplicate" };
      return { kind: "done", note: noteOf(answer.value, received) };
    });
  };
}

async function chargeAll(
  { provider, concurrency, timeoutMs }: PaymentDeps,
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

/**
 * Records the answers, and that `repeats` came again; answers with the ids of the events whose charge this call
 * recorded.
 */
async function record(
  { sql, consumer, waker }: PaymentDeps,
  settled: readonly Settled[],
  repeats: readonly string[],
): Promise<Set<string>> {
  const ids = [...settled.map(({ received }) => received.event.eventId), ...repeats];
  if (ids.length === 0) return new Set();
  const now = new Date();
  const recorded = await processOnce(sql, consumer, ids, now, async (tx, fresh) => {
    const ours = settled.filter(({ received }) => fresh.has(received.event.eventId));
    const inserted = await insertPayments(tx, ours.map(({ payment }) => payment), now);
    return ours.filter(({ payment }) => inserted.has(payment.id))
      .map(({ received, payment }) => ({
        cause: received.event.eventId,
        event: outcomeOf(received, payment, now),
      }));
  });
  waker.wake();
  return recorded;
}

function outcomeOf(received: Created, payment: NewPayment, now: Date): OutgoingEvent {
  const cause = { correlationId: received.event.correlationId, traceparent: received.traceparent };
  const { orderId, courseId, amount, id: paymentId } = payment;
  return payment.failureReason === null
    ? makeEvent("payment.succeeded", { orderId, paymentId, courseId, amount }, cause, now)
    : makeEvent("payment.failed", { orderId, paymentId, reason: payment.failureReason }, cause, now);
}

function noteOf(result: ChargeResult, { event }: Created): string {
  return result.kind === "charged" ? `charged ${event.data.amount}` : result.reason;
}
