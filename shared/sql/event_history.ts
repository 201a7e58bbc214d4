/**
 * What the table `event_history` is told by consumers: deliveries that went another way than usual. The rest of it the
 * database writes by itself (migration 020).
 *
 * @module
 */
import type { ConsumerObserver } from "../broker/observe.ts";
import { messageOf } from "../process/errors.ts";
import type { Logger } from "../process/log.ts";
import { type Queryable, rowset, type Sql } from "./connect.ts";

/** A delivery: that it came although its message had been delivered before, or that its consumer had it for `count` ms. */
export interface OddDelivery {
  readonly eventId: string;
  readonly kind: "redelivered" | "taken";
  readonly at: Date;
  readonly count: number | null;
}

/** Writes down deliveries of `consumer`. */
export async function insertDeliveries(
  sql: Queryable,
  consumer: string,
  deliveries: readonly OddDelivery[],
): Promise<void> {
  await sql`
    insert into event_history (event_id, consumer, kind, at, count)
    select "eventId", ${consumer}, kind, at, count
    from jsonb_to_recordset(${rowset(deliveries)}::text::jsonb)
      as odd ("eventId" uuid, kind text, at timestamptz, count integer)`;
}

/** What a consumer has had for longer is written down, in milliseconds: some hundred times of what is usual. */
const LONG_MS = 1000;

/**
 * Writes down what came again, before it is processed, and what was held for long, behind its ack. By the consumer's own
 * clock, as all that it writes. Nobody waits for it, and what cannot be written is left away: it is for telling alone.
 */
export function keepDeliveries(sql: Sql, consumer: string, log: Logger): ConsumerObserver {
  const keep = (deliveries: readonly OddDelivery[]) => {
    if (deliveries.length === 0) return;
    insertDeliveries(sql, consumer, deliveries).catch((error) => {
      log.debug("Deliveries were not written down", { consumer, error: messageOf(error) });
    });
  };
  return {
    takeUp(batch) {
      const at = new Date();
      keep(batch.flatMap(({ parsed, message, looks }) => {
        if (!parsed.ok || !message.fields.redelivered || looks > 0) return [];
        return [{ eventId: parsed.event.eventId, kind: "redelivered", at, count: null }];
      }));
    },
    settled({ messages }) {
      keep(messages.flatMap(({ delivery: { parsed, takenUpMs }, step }) => {
        const heldMs = performance.now() - takenUpMs;
        if (!parsed.ok || step.kind === "look-again" || heldMs < LONG_MS) return [];
        const at = new Date(Date.now() - heldMs);
        return [{ eventId: parsed.event.eventId, kind: "taken", at, count: Math.round(heldMs) }];
      }));
    },
  };
}
