/**
 * What a consumer's log says of a batch.
 *
 * @module
 */
import { type Logger, ONE_BY_ONE } from "../log.ts";
import type { NewDeadLetter } from "../sql/dead_letters.ts";
import { traceIdOf } from "../trace_context.ts";
import type { Delivery } from "./delivery.ts";
import type { Verdict } from "./next_step.ts";

/** Logs a settled batch: dead letters always one by one, the rest by the size of the batch. */
export function logBatch(
  log: Logger,
  verdicts: ReadonlyMap<Delivery, Verdict>,
  letters: readonly NewDeadLetter[],
  tookMs: number,
): void {
  for (const letter of letters) {
    const { reason, detail, eventType, eventId, orderId, correlationId, attempts } = letter;
    const traceId = traceIdOf(letter.traceparent);
    log.error("Dead letter", {
      reason,
      detail,
      eventType,
      eventId,
      orderId,
      correlationId,
      traceId,
      attempts,
    });
  }
  const ms = Math.round(tookMs * 10) / 10;
  if (verdicts.size <= ONE_BY_ONE) {
    for (const [delivery, verdict] of verdicts) logOne(log, delivery, verdict, ms);
    return;
  }
  const counts: Record<string, number> = {};
  for (const { kind } of verdicts.values()) counts[kind] = (counts[kind] ?? 0) + 1;
  log.info("Processed a batch", { ...counts, ms });
}

function logOne(log: Logger, { parsed, past, traceparent }: Delivery, verdict: Verdict, ms: number): void {
  if (!parsed.ok) return;
  const { type: event, eventId, correlationId, data } = parsed.event;
  const about = { event, orderId: data.orderId, correlationId, traceId: traceIdOf(traceparent) };
  switch (verdict.kind) {
    case "done":
      return log.info("Processed", { ...about, did: verdict.note, ms });
    case "duplicate":
      return log.info("Absorbed a duplicate", { ...about, eventId });
    case "early":
      return log.debug("Too early, waiting", { ...about, awaits: verdict.awaits });
    case "waiting":
      return; // it is on its way
    case "failed":
      return log.warning("Failed for now", { ...about, error: verdict.error, retries: past.retries });
    case "rejected":
      return; // it has its dead letter
    default:
      return verdict satisfies never;
  }
}
