/**
 * Decides the seats of a batch of `payment.succeeded`.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import type { ReceivedEvent } from "../../shared/broker/delivery.ts";
import type { HandleBatch } from "../../shared/broker/judge_batch.ts";
import type { Verdict } from "../../shared/broker/next_step.ts";
import { makeEvent, type OutgoingEvent } from "../../shared/events/catalog.ts";
import type { Atomically } from "../../shared/sql/connect.ts";
import { insertEnrollments, type NewEnrollment } from "../../shared/sql/enrollments.ts";
import type { OutboxWaker } from "../../shared/sql/outbox_wakeup.ts";
import { recordOnce } from "../../shared/sql/process_once.ts";
import { decideSeat } from "./decide_seat.ts";

/** What the handler is made of. */
export interface EnrollDeps {
  /** Runs a statement that may write `enrollments`, the inbox and the outbox. */
  readonly atomically: Atomically;
  /** The consumer's name, for the inbox. */
  readonly consumer: string;
  /** Wakes the relay after each batch. */
  readonly waker: OutboxWaker;
}

type Paid = ReceivedEvent<"payment.succeeded">;

/** Makes the handler. "No seat left" is an outcome with an event of its own, never an error. */
export function createEnrollHandler(
  { atomically, consumer, waker }: EnrollDeps,
): HandleBatch<"payment.succeeded"> {
  return async (paid) => {
    const now = new Date();
    const decided = paid.map((received) => ({ received, enrollment: decide(received) }));
    const recordings = decided.map(({ received, enrollment }) => ({
      row: { ...enrollment, cause: received.event.eventId },
      event: outcomeOf(received, enrollment, now),
    }));
    const recording = recordOnce(atomically, consumer, { recordings }, now, insertEnrollments);
    waker.wake();
    const recorded = await recording;
    return decided.map(({ received, enrollment }): Verdict => {
      if (!recorded.has(received.event.eventId)) return { kind: "duplicate" };
      return { kind: "done", note: enrollment.reason ?? "seat granted" };
    });
  };
}

function decide({ event }: Paid): NewEnrollment {
  const { orderId, courseId } = event.data;
  return { id: uuidv7(), orderId, courseId, ...decideSeat(courseId) };
}

function outcomeOf({ event, traceparent }: Paid, enrollment: NewEnrollment, now: Date): OutgoingEvent {
  const cause = { correlationId: event.correlationId, traceparent };
  const { orderId, courseId, id: enrollmentId, reason } = enrollment;
  return reason === null
    ? makeEvent("enrollment.granted", { orderId, enrollmentId, courseId }, cause, now)
    : makeEvent("enrollment.failed", { orderId, courseId, reason }, cause, now);
}
