/**
 * Decides the seats of a batch of `payment.succeeded`.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import type { ReceivedEvent } from "../../shared/broker/delivery.ts";
import type { HandleBatch } from "../../shared/broker/judge_batch.ts";
import type { Verdict } from "../../shared/broker/next_step.ts";
import { type DomainEvent, makeEvent, type OutgoingEvent } from "../../shared/events/catalog.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { insertEnrollments, type NewEnrollment } from "../../shared/sql/enrollments.ts";
import type { OutboxWaker } from "../../shared/sql/outbox_wakeup.ts";
import { processOnce } from "../../shared/sql/process_once.ts";
import { decideSeat } from "./decide_seat.ts";

/** What the handler is made of. */
export interface EnrollDeps {
  /** A pool that may write `enrollments`, the inbox and the outbox. */
  readonly sql: Sql;
  /** The consumer's name, for the inbox. */
  readonly consumer: string;
  /** Wakes the relay after each batch. */
  readonly waker: OutboxWaker;
}

type Paid = ReceivedEvent & { readonly event: DomainEvent<"payment.succeeded"> };

interface Decided {
  readonly received: Paid;
  readonly enrollment: NewEnrollment;
}

/** Makes the handler. "No seat left" is an outcome with an event of its own, never an error. */
export function createEnrollHandler({ sql, consumer, waker }: EnrollDeps): HandleBatch {
  return async (events) => {
    const now = new Date();
    const decided = new Map(
      events.filter(isPaid).map((received) => [received as ReceivedEvent, decide(received)]),
    );
    const ids = [...decided.values()].map(({ received }) => received.event.eventId);
    const fresh = await processOnce(sql, consumer, ids, now, async (tx, fresh) => {
      const ours = [...decided.values()].filter(({ received }) => fresh.has(received.event.eventId));
      const inserted = await insertEnrollments(tx, ours.map(({ enrollment }) => enrollment), now);
      return ours.filter(({ enrollment }) => inserted.has(enrollment.id)).map((one) => outcomeOf(one, now));
    });
    waker.wake();
    return events.map((received): Verdict => {
      const { event } = received;
      const enrollment = decided.get(received)?.enrollment;
      if (!enrollment) {
        return {
          kind: "rejected",
          reason: "unexpected type",
          detail: `${event.type} is not for this consumer`,
        };
      }
      if (!fresh.has(event.eventId)) return { kind: "duplicate" };
      return { kind: "done", note: enrollment.reason ?? "seat granted" };
    });
  };
}

function isPaid(received: ReceivedEvent): received is Paid {
  return received.event.type === "payment.succeeded";
}

function decide(received: Paid): Decided {
  const { orderId, courseId } = received.event.data;
  return { received, enrollment: { id: uuidv7(), orderId, courseId, ...decideSeat(courseId) } };
}

function outcomeOf({ received, enrollment }: Decided, now: Date): OutgoingEvent {
  const cause = { correlationId: received.event.correlationId, traceparent: received.traceparent };
  const { orderId, courseId, id: enrollmentId, reason } = enrollment;
  return reason === null
    ? makeEvent("enrollment.granted", { orderId, enrollmentId, courseId }, cause, now)
    : makeEvent("enrollment.failed", { orderId, courseId, reason }, cause, now);
}
