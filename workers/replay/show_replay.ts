/**
 * How a replay looks in a terminal. All pure.
 *
 * @module
 */
import type { ToldMessage, ToldReplay, ToldSet } from "./replay_api.ts";

/** Messages of the set that are shown. */
const SHOWN = 10;

/** The set: its count, and its first messages. */
export function showSet({ id, total, alreadyProcessed }: ToldReplay, { events }: ToldSet): string[] {
  const columns = events.slice(0, SHOWN).map(rowOf);
  const widths = [0, 1, 2].map((i) => Math.max(...columns.map((row) => row[i]?.length ?? 0)));
  const rows = columns.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ")}`);
  const absorbed = alreadyProcessed > 0
    ? [
      `${alreadyProcessed} of them their consumer has processed: it will absorb those, and count the repeat.`,
    ]
    : [];
  const more = total > rows.length ? [`  and ${total - rows.length} more: /ops/replays/${id}/events`] : [];
  return [`Replay ${id}: ${countOf(total)}.`, ...absorbed, ...rows, ...more];
}

function rowOf({ occurredAt, type, orderId, consumer }: ToldMessage): string[] {
  return [occurredAt ?? "pruned", type ?? "-", orderId ? `order ${orderId}` : "-", consumer];
}

/** `1 message`, `2 messages`. */
export function countOf(messages: number): string {
  return `${messages} ${messages === 1 ? "message" : "messages"}`;
}

/** How a replay ended. */
export function showEnd({ state, sent, total, skipped, reason }: ToldReplay): string {
  const left = skipped > 0 ? `, ${skipped} of them skipped: their events are too old or pruned` : "";
  if (state === "DONE") return `Done: ${countOf(sent)}${left}.`;
  return `Cancelled after ${sent} of ${countOf(total)}${left}: ${reason ?? "no reason given"}.`;
}
