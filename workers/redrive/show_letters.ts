/**
 * How dead letters, and what came of them, look in a terminal. All pure.
 *
 * @module
 */
import type { ToldLetter } from "./letters_api.ts";
import type { FoundLetters, Outcome } from "./take_letters.ts";

/** Letters, and refusals, that are shown. */
const SHOWN = 10;

/** `1 dead letter`, `2 dead letters`. */
export function countOf(letters: number): string {
  return `${letters} ${letters === 1 ? "dead letter" : "dead letters"}`;
}

/** The letters that are meant: their count, and the first of them in columns. */
export function showLetters({ letters, more }: FoundLetters): string[] {
  const columns = letters.slice(0, SHOWN).map(cellsOf);
  const widths = [0, 1, 2, 3, 4].map((i) => Math.max(...columns.map((row) => row[i]?.length ?? 0)));
  const rows = columns.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ")}`);
  const rest = letters.length > rows.length ? [`  and ${letters.length - rows.length} more`] : [];
  const limit = more
    ? [`There are more: these are the newest ${letters.length}. Run it again for the rest.`]
    : [];
  return [
    `${countOf(letters.length)}, oldest first:`,
    ...rows.map((row) => row.trimEnd()),
    ...rest,
    ...limit,
  ];
}

function cellsOf({ id, lastFailedAt, consumer, eventType, reason, orderId }: ToldLetter): string[] {
  return [
    id,
    lastFailedAt,
    consumer,
    eventType ?? "no event",
    orderId ? `${reason}, order ${orderId}` : reason,
  ];
}

/** What came of them, a line for each kind of end. */
export function showOutcome(outcome: Outcome): string[] {
  const { redriven, alreadyProcessed, discarded, gone, refused, untouched } = outcome;
  const kinds: [number, string][] = [
    [redriven, "sent to their consumers again"],
    [discarded, "discarded"],
    [alreadyProcessed, "closed unsent: their consumers have processed the event meanwhile"],
    [gone, "dealt with by somebody else meanwhile"],
    [refused.length, "left open: the broker did not take them"],
    [untouched, "left open: it was cancelled before"],
  ];
  const reasons = refused.slice(0, SHOWN).map(({ id, error }) => `  ${id}: ${error}`);
  const more = refused.length > SHOWN ? [`  and ${refused.length - SHOWN} more`] : [];
  const lines = kinds.filter(([count]) => count > 0).map(([count, what]) => `${countOf(count)} ${what}.`);
  return [...lines, ...reasons, ...more];
}
