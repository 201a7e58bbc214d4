/**
 * Gets a verdict on every delivery of a batch, whatever one of them does to the batch.
 *
 * @module
 */
import { kindOfError, messageOf } from "../errors.ts";
import { runSplitting } from "../run_splitting.ts";
import type { Delivery, ReceivedEvent } from "./delivery.ts";
import type { Verdict } from "./next_step.ts";

/**
 * Processes a batch of events in one transaction, and answers with a verdict for each, in their order. No event id
 * appears twice. When it throws, nothing of the batch may have been committed.
 */
export type HandleBatch = (events: readonly ReceivedEvent[]) => Promise<readonly Verdict[]>;

/** What of a delivery matters for the verdict. */
export type Judged = Pick<Delivery, "parsed" | "traceparent" | "retries">;

/**
 * Judges every delivery: what is no event is rejected, an event delivered twice in the batch is handled once, and a
 * batch that fails is split until the event at fault stands alone, so that one bad message harms only itself.
 *
 * Errors: only those of kind "outage", which are no message's fault.
 */
export async function judgeBatch<D extends Judged>(
  batch: readonly D[],
  handle: HandleBatch,
): Promise<Map<D, Verdict>> {
  const verdicts = new Map<D, Verdict>();
  const first = new Map<string, D>();
  const repeats: [D, D][] = [];
  for (const delivery of batch) {
    if (!delivery.parsed.ok) {
      verdicts.set(delivery, delivery.parsed.verdict);
      continue;
    }
    const original = first.get(delivery.parsed.event.eventId);
    if (original) repeats.push([delivery, original]);
    else first.set(delivery.parsed.event.eventId, delivery);
  }
  const deliveries = [...first.values()];
  const judged = await runSplitting(deliveries.flatMap(toReceived), handle);
  judged.forEach((result, i) => {
    const delivery = deliveries[i];
    if (delivery) {
      verdicts.set(delivery, result.status === "fulfilled" ? result.value : verdictOn(result.reason));
    }
  });
  for (const [repeat, original] of repeats) {
    const verdict = verdicts.get(original);
    if (verdict) verdicts.set(repeat, verdict.kind === "done" ? { kind: "duplicate" } : verdict);
  }
  return verdicts;
}

function toReceived({ parsed, traceparent, retries }: Judged): ReceivedEvent[] {
  return parsed.ok ? [{ event: parsed.event, traceparent, attempt: retries + 1 }] : [];
}

/** The verdict on an event whose handling failed although it was alone. */
function verdictOn(error: unknown): Verdict {
  const detail = messageOf(error);
  if (kindOfError(error) === "transient") return { kind: "failed", error: detail };
  return { kind: "rejected", reason: "handler failed", detail };
}
