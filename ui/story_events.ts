/**
 * An order's timeline, told by event: what waited where, who processed it, and what went wrong on the way.
 *
 * @module
 */
import { QUEUES } from "../shared/topology.ts";
import { isFinal } from "../shared/order_status.ts";
import type { OrderStoryJson, TimelineEntryJson } from "../shared/ops/answers.ts";

/** One consumer of an event. Times are epoch milliseconds. */
export interface StoryConsumer {
  /** Its name, which is its queue's. */
  readonly name: string;
  /** When it committed the event's effects; null while it has not. */
  readonly processedAt: number | null;
  /** How often the event came again and was absorbed, and when it last did. */
  readonly duplicate: { readonly count: number; readonly at: number } | null;
  /** Its last failed attempt, after so many retries; `dueAt` is when it gets it again, null once that is sent. */
  readonly retry: {
    readonly count: number;
    readonly at: number;
    readonly error: string;
    readonly dueAt: number | null;
  } | null;
  /** When and why it last gave up on it. */
  readonly deadLetter: { readonly at: number; readonly reason: string } | null;
}

/** One event of an order. Times are epoch milliseconds. */
export interface StoryEvent {
  /** The event's id; null where the message did not say. */
  readonly id: string | null;
  /** A key of its own among the story's events. */
  readonly key: string;
  /** Its type; null where the message did not say. */
  readonly type: string | null;
  /** When it was appended to the outbox; null for a message that never was in it. */
  readonly emittedAt: number | null;
  /** When it had left the outbox; null while it waits there. */
  readonly sentAt: number | null;
  /** How often the broker has refused it. */
  readonly refusals: number;
  /** Those who have met it, and those who are still to, in the order of their processing. */
  readonly consumers: readonly StoryConsumer[];
  /** Whether it belongs to the way back: from the request for a refund on. */
  readonly isCompensation: boolean;
}

/** The events of a story, in the order in which they came about. */
export function readStoryEvents({ timeline }: Pick<OrderStoryJson, "timeline">): StoryEvent[] {
  const groups = Map.groupBy(timeline.filter(({ kind }) => kind !== "status"), keyOf);
  const events = [...groups].map(([key, entries]) => toEvent(key, entries)).sort((a, b) =>
    firstAt(a) - firstAt(b)
  );
  const turn = events.findIndex(({ type }) => type === "refund.requested");
  return events.map((event, index) => ({
    ...event,
    isCompensation: turn >= 0 && index >= turn && event.emittedAt !== null,
  }));
}

/** Whether nothing more is to be expected: the order has ended, and no event is on its way. */
export function isSettled(story: OrderStoryJson): boolean {
  return isFinal(story.order.status) && readStoryEvents(story).every((event) =>
    event.emittedAt === null ||
    event.sentAt !== null &&
      event.consumers.every(({ processedAt, deadLetter }) => processedAt !== null || deadLetter !== null)
  );
}

/** Whether a consumer has given up on an event that the order needs: it waits for an operator. */
export function isHeldUp(story: OrderStoryJson): boolean {
  return !isFinal(story.order.status) &&
    readStoryEvents(story).some(({ emittedAt, consumers }) =>
      emittedAt !== null &&
      consumers.some(({ deadLetter, processedAt }) => deadLetter !== null && processedAt === null)
    );
}

function keyOf(entry: TimelineEntryJson): string {
  return entry.eventId ?? (entry.kind === "dead-letter" ? entry.deadLetterId : "");
}

function firstAt({ emittedAt, consumers }: StoryEvent): number {
  const [first] = consumers;
  return emittedAt ?? first?.deadLetter?.at ?? first?.retry?.at ?? first?.processedAt ?? 0;
}

function toEvent(key: string, entries: readonly TimelineEntryJson[]): StoryEvent {
  const emitted = entries.find(({ kind }) => kind === "emitted");
  const published = entries.find((entry) => entry.kind === "published");
  const type = entries.find(({ eventType }) => eventType !== null)?.eventType ?? null;
  const emittedAt = emitted ? Date.parse(emitted.at) : null;
  const met = consumersOf(entries);
  // The relay marks an event after the broker's confirm, and marks it anew when it is republished; by then consumers
  // may have had it. It had left the outbox when the first of them was through with it.
  const left = [published, ...entries.filter(({ kind }) => kind === "processed")]
    .flatMap((entry) => entry ? [Date.parse(entry.at)] : []);
  const sentAt = left.length > 0 ? Math.max(emittedAt ?? 0, Math.min(...left)) : null;
  return {
    id: entries[0]?.eventId ?? null,
    key,
    type,
    emittedAt,
    sentAt,
    refusals: published?.retryCount ?? 0,
    consumers: emittedAt === null ? met : [...met, ...pendingOf(type, met)],
    isCompensation: false,
  };
}

function consumersOf(entries: readonly TimelineEntryJson[]): StoryConsumer[] {
  const byName = Map.groupBy(entries, (entry) => "consumer" in entry ? entry.consumer : "");
  byName.delete("");
  return [...byName].map(([name, own]) => {
    const processed = own.find(({ kind }) => kind === "processed");
    const duplicate = own.find((entry) => entry.kind === "duplicate");
    const retry = own.find((entry) => entry.kind === "retry");
    const deadLetter = own.findLast((entry) => entry.kind === "dead-letter");
    return {
      name,
      processedAt: processed ? Date.parse(processed.at) : null,
      duplicate: duplicate ? { count: duplicate.duplicates, at: Date.parse(duplicate.at) } : null,
      retry: retry
        ? {
          count: retry.retries,
          at: Date.parse(retry.at),
          error: retry.error,
          dueAt: retry.dueAt === null ? null : Date.parse(retry.dueAt),
        }
        : null,
      deadLetter: deadLetter ? { at: Date.parse(deadLetter.at), reason: deadLetter.reason } : null,
    };
  });
}

/** The consumers that are bound to the type and have yet to meet the event; queues may have been renamed. */
function pendingOf(type: string | null, met: readonly StoryConsumer[]): StoryConsumer[] {
  const bound: readonly { name: string; bindings: readonly string[] }[] = Object.values(QUEUES);
  const names = bound.filter(({ bindings }) => type !== null && bindings.includes(type)).map(({ name }) =>
    name
  );
  const unmet = names.filter((name) => !met.some((consumer) => consumer.name === name));
  return unmet.slice(0, Math.max(0, names.length - met.length))
    .map((name) => ({ name, processedAt: null, duplicate: null, retry: null, deadLetter: null }));
}
