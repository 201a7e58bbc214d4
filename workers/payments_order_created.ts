/**
 * The payments module's consumer of `order.created`: charges orders.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import type { ReceivedEvent } from "../shared/broker/message.ts";
import type { HandleBatch, Verdict } from "../shared/broker/settle.ts";
import { makeEvent, type OutgoingEvent } from "../shared/events.ts";
import { insertingPayments, type NewPayment } from "../shared/sql/payments.ts";
import { findProcessed, recordOnce } from "../shared/sql/inbox.ts";
import {
  type Answered,
  callProvider,
  type ChargeResult,
  createPendingCalls,
  type PaymentDeps,
  type PendingCalls,
  PROVIDER_VARIABLES,
} from "./payments/provider.ts";
import { runConsumerProcess } from "./consumer.ts";
import { paymentDeps } from "./payments/deps.ts";

type Created = ReceivedEvent<"order.created">;

interface Settled {
  readonly received: Created;
  readonly payment: NewPayment;
}

/**
 * Makes the handler. It asks the provider first, for the whole batch at once and with no transaction open, then records
 * the answers in one transaction. Killed in between, it asks again with the same idempotency key and gets the same
 * charge. What the inbox already has is not asked for again. An order whose answer takes longer is looked at again.
 */
export function createChargeHandler(deps: PaymentDeps): HandleBatch<"order.created"> {
  const calls = createPendingCalls<ChargeResult>(deps);
  return async (created) => {
    const processed = await findProcessed(deps.sql, deps.consumer, created.map(({ event }) => event.eventId));
    const answers = await chargeAll(
      deps,
      calls,
      created.filter(({ event }) => !processed.has(event.eventId)),
    );
    const settled = created.flatMap((received) => toSettled(received, answers.get(received.event.eventId)));
    const recorded = await record(deps, settled, [...processed]);
    calls.forget(answers.keys());
    return created.map((received): Verdict => {
      const { eventId } = received.event;
      const answer = answers.get(eventId);
      if (!answer) return processed.has(eventId) ? { kind: "duplicate" } : { kind: "waiting" };
      if (!answer.ok) return { kind: "failed", error: answer.error };
      if (!recorded.has(eventId)) return { kind: "duplicate" };
      return { kind: "done", note: noteOf(answer.value, received) };
    });
  };
}

/** The answers that are there, by event id. */
async function chargeAll(
  { provider, timeoutMs, stop }: PaymentDeps,
  calls: PendingCalls<ChargeResult>,
  created: readonly Created[],
): Promise<Map<string, Answered<ChargeResult>>> {
  return await calls.answers(
    new Map(created.map(({ event: { eventId, correlationId, data }, traceparent }) => {
      const { orderId, courseId, amount } = data;
      const metadata = { orderId, courseId, correlationId };
      const request = { idempotencyKey: orderId, amount, metadata, traceparent };
      return [eventId, () => callProvider((signal) => provider.charge(request, signal), timeoutMs, stop)];
    })),
  );
}

function toSettled(received: Created, answer: Answered<ChargeResult> | undefined): Settled[] {
  if (!answer?.ok) return [];
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
  { atomically, consumer, waker }: PaymentDeps,
  settled: readonly Settled[],
  repeats: readonly string[],
): Promise<Set<string>> {
  if (settled.length + repeats.length === 0) return new Set();
  const now = new Date();
  const recordings = settled.map(({ received, payment }) => ({
    row: { ...payment, cause: received.event.eventId },
    event: outcomeOf(received, payment, now),
  }));
  const recording = recordOnce(atomically, consumer, { recordings, repeats }, now, insertingPayments);
  waker.wake();
  return await recording;
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

if (import.meta.main) {
  await runConsumerProcess({
    queue: "paymentsOrderCreated",
    role: "orderflow_payments",
    variables: PROVIDER_VARIABLES,
    createHandler: (deps) => createChargeHandler(paymentDeps(deps)),
  });
}
