/**
 * Gets a verdict on every delivery of a batch, whatever one of them does to the batch.
 *
 * @module
 */
import { kindOfError, messageOf } from "../errors.ts";
import type { DomainEvent, EventType } from "../events/catalog.ts";
import { runSplitting } from "../run_splitting.ts";
import type { Delivery, ReceivedEvent } from "./delivery.ts";
import type { Verdict } from "./next_step.ts";

/**
 * Processes a batch of events of the types `T` in one transaction, and answers with a verdict for each, in their order.
 * No event id appears twice. When it throws, nothing of the batch may have been committed.
 */
export type HandleBatch<T extends EventType = EventType> = (
  events: readonly ReceivedEvent<T>[],
) => Promise<readonly Verdict[]>;

/** What of a delivery matters for the verdict. */
export type Judged = Pick<Delivery, "parsed" | "traceparent" | "past">;

/**
 * Judges every delivery: what is no event, or none of `types`, is rejected; an event delivered twice in the batch is
 * handled first once, then as the repeat that it is; and a batch that fails is split until the event at fault stands
 * alone: one bad message harms only itself.
 *
 * Errors: only those of kind "outage", which are no message's fault.
 */
export async function judgeBatch<D extends Judged, T extends EventType>(
  batch: readonly D[],
  types: readonly T[],
  handle: HandleBatch<T>,
): Promise<Map<D, Verdict>> {
  const verdicts = new Map<D, Verdict>();
  const first = new Map<string, { readonly delivery: D; readonly received: ReceivedEvent<T> }>();
  const repeats: [repeat: D, original: D][] = [];
  for (const delivery of batch) {
    const received = receivedOf(delivery, types);
    if ("kind" in received) {
      verdicts.set(delivery, received);
      continue;
    }
    const original = first.get(received.event.eventId);
    if (original) repeats.push([delivery, original.delivery]);
    else first.set(received.event.eventId, { delivery, received });
  }
  const singles = [...first.values()];
  const judged = await runSplitting(singles.map(({ received }) => received), handle);
  judged.forEach((result, i) => {
    const delivery = singles[i]?.delivery;
    if (delivery) {
      verdicts.set(delivery, result.status === "fulfilled" ? result.value : verdictOn(result.reason));
    }
  });
  return new Map([...verdicts, ...await judgeRepeats(repeats, verdicts, types, handle)]);
}

/** A repeat of what is processed goes through the inbox as well, which counts it; any other shares its fate. */
async function judgeRepeats<D extends Judged, T extends EventType>(
  repeats: readonly [repeat: D, original: D][],
  verdicts: ReadonlyMap<D, Verdict>,
  types: readonly T[],
  handle: HandleBatch<T>,
): Promise<Map<D, Verdict>> {
  const fates = repeats.flatMap(([repeat, original]) => {
    const verdict = verdicts.get(original);
    return verdict ? [{ repeat, verdict }] : [];
  });
  const isProcessed = ({ kind }: Verdict) => kind === "done" || kind === "duplicate";
  const processed = fates.filter(({ verdict }) => isProcessed(verdict)).map(({ repeat }) => repeat);
  const shared = fates.filter(({ verdict }) => !isProcessed(verdict));
  const judged = processed.length > 0 ? await judgeBatch(processed, types, handle) : [];
  return new Map([...judged, ...shared.map(({ repeat, verdict }) => [repeat, verdict] as const)]);
}

function receivedOf<T extends EventType>(
  { parsed, traceparent, past }: Judged,
  types: readonly T[],
): ReceivedEvent<T> | Extract<Verdict, { kind: "rejected" }> {
  if (!parsed.ok) return { kind: "rejected", reason: parsed.reason, detail: parsed.detail };
  const event = narrowed(parsed.event, types);
  if (!event) {
    const detail = `${parsed.event.type} is not for this consumer`;
    return { kind: "rejected", reason: "unexpected type", detail };
  }
  return { event, traceparent, attempt: past.retries + 1 };
}

function narrowed<T extends EventType>(event: DomainEvent, types: readonly T[]): DomainEvent<T> | null {
  return types.some((type) => type === event.type) ? event as DomainEvent<T> : null;
}

/** The verdict on an event whose handling failed although it was alone. */
function verdictOn(error: unknown): Verdict {
  const detail = messageOf(error);
  if (kindOfError(error) === "transient") return { kind: "failed", error: detail };
  return { kind: "rejected", reason: "handler failed", detail };
}
