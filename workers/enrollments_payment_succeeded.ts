/**
 * The enrollments module's consumer of `payment.succeeded`: decides seats.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import type { ReceivedEvent } from "../shared/broker/message.ts";
import type { HandleBatch, Verdict } from "../shared/broker/settle.ts";
import { makeEvent, type OutgoingEvent } from "../shared/events.ts";
import type { Atomically } from "../shared/sql/connect.ts";
import { insertingEnrollments, type NewEnrollment } from "../shared/sql/enrollments.ts";
import type { OutboxWaker } from "../shared/sql/outbox.ts";
import { recordOnce } from "../shared/sql/inbox.ts";
import { runConsumerProcess } from "./consumer.ts";

/** The decision on a seat. */
export type SeatDecision =
  | { readonly status: "GRANTED"; readonly reason: null }
  | { readonly status: "FAILED"; readonly reason: string };

/** Decides whether `courseId` has a seat. Courses are without limit but for the one that is reserved as full. */
export function decideSeat(courseId: string): SeatDecision {
  if (courseId === RESERVED_COURSES.enrollmentFailure) return { status: "FAILED", reason: "no seat left" };
  return { status: "GRANTED", reason: null };
}

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
    const recording = recordOnce(atomically, consumer, { recordings }, now, insertingEnrollments);
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

if (import.meta.main) {
  await runConsumerProcess({
    queue: "enrollmentsPaymentSucceeded",
    role: "orderflow_enrollments",
    createHandler: createEnrollHandler,
  });
}
