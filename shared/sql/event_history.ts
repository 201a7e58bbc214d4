// The table `event_history`: what happened to an event on its way to one consumer, out of the usual, each time in a row of
// its own. For telling alone: nothing is decided by it.

import type { ConsumerObserver } from "../broker/observe.ts";
import { messageOf } from "../process/errors.ts";
import type { Logger } from "../process/log.ts";
import { type Queryable, rowset, type Sql, storableText } from "./connect.ts";

/** What a consumer saw of an event. */
export interface Incident {
  readonly eventId: string;
  /**
   * It came although it had been delivered before; it was in the consumer's hands for `count` ms; it was absorbed as a
   * repeat; or it is to be tried again, as attempt `count` failed of `detail`.
   */
  readonly kind: "redelivered" | "taken" | "duplicate" | "retry";
  readonly at: Date;
  readonly count?: number;
  /** The first 2,000 characters are kept. */
  readonly detail?: string;
}

/** Writes down what `consumer` saw, in one statement. */
export async function insertIncidents(
  sql: Queryable,
  consumer: string,
  incidents: readonly Incident[],
): Promise<void> {
  const rows = incidents.map((incident) => ({ ...incident, detail: storableText(incident.detail ?? "") }));
  await sql`
    insert into event_history (event_id, consumer, kind, at, count, detail)
    select "eventId", ${consumer}, kind, at, count, left(nullif(detail, ''), 2000)
    from jsonb_to_recordset(${rowset(rows)}::text::jsonb)
      as new ("eventId" uuid, kind text, at timestamptz, count integer, detail text)`;
}

/** What a consumer has had for longer is written down, in milliseconds: some hundred times of what is usual. */
const LONG_MS = 1000;

/**
 * Keeps the history of a consumer's events, by its own clock, as all that it writes: what came again, before it is
 * processed; the rest behind its ack. Nobody waits for that, and what cannot be written is left away.
 */
export function keepHistory(sql: Sql, consumer: string, log: Logger): ConsumerObserver {
  const keep = (incidents: readonly Incident[]) => {
    if (incidents.length === 0) return;
    insertIncidents(sql, consumer, incidents).catch((error) => {
      log.debug("The history of events was not kept", { consumer, error: messageOf(error) });
    });
  };
  return {
    takeUp(batch) {
      const at = new Date();
      keep(batch.flatMap(({ parsed, message, looks }): Incident[] => {
        if (!parsed.ok || !message.fields.redelivered || looks > 0) return [];
        return [{ eventId: parsed.event.eventId, kind: "redelivered", at }];
      }));
    },
    settled({ messages }) {
      const [at, nowMs] = [new Date(), performance.now()];
      keep(messages.flatMap(({ delivery: { parsed, takenUpMs }, outcome, step }): Incident[] => {
        if (!parsed.ok || step.kind === "look-again") return [];
        const { eventId } = parsed.event;
        const heldMs = Math.round(nowMs - takenUpMs);
        const takenAt = new Date(at.getTime() - heldMs);
        return [
          ...heldMs < LONG_MS ? [] : [{ eventId, kind: "taken", at: takenAt, count: heldMs } as const],
          ...outcome.kind === "duplicate" ? [{ eventId, kind: "duplicate", at } as const] : [],
          ...step.kind === "retry"
            ? [{ eventId, kind: "retry", at, count: step.retries, detail: step.error } as const]
            : [],
        ];
      }));
    },
  };
}
