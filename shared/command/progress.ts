/**
 * How far long work is, on standard error: one line that is drawn over itself on a terminal, a plain line now and then
 * elsewhere.
 *
 * @module
 */
import { duration } from "./duration.ts";

/** How far work is. */
export interface HowFar {
  /** What is counted, in the plural: `orders`. */
  readonly unit: string;
  /** How many are done. */
  readonly done: number;
  /** How many there are; null where nobody knows. */
  readonly total: number | null;
  /** Since it began, in milliseconds. */
  readonly elapsedMs: number;
}

/** Where the line goes. */
export interface Screen {
  /** Whether it can be drawn over. */
  readonly isTerminal: boolean;
  /** How many characters a line of it has now. */
  columns(): number;
  /** Writes to it. */
  write(text: string): void;
}

/** The line of some work. */
export interface Progress {
  /** Says how far it is now; may be called as often as one likes. */
  at(done: number): void;
  /** Prints a line of its own, above. */
  say(line: string): void;
  /** Takes the line away: the result follows. */
  [Symbol.dispose](): void;
}

const BAR_WIDTH = 30;
/** Before that a rate says nothing. */
const RATE_AFTER_MS = 1000;
const REDRAW_MS = 100;
const PLAIN_LINE_MS = 5000;

/** A line such as `[###---]  50 %  100 of 200 orders, 25/s, 4 s left`; work of nothing is complete. Pure. */
export function progressText({ unit, done, total, elapsedMs }: HowFar): string {
  const rate = elapsedMs >= RATE_AFTER_MS ? done * 1000 / elapsedMs : 0;
  const speed = rate >= 0.1 ? `, ${rate.toFixed(rate < 10 ? 1 : 0)}/s` : "";
  if (total === null) return `${done} ${unit}${speed}`;
  const share = total === 0 ? 1 : Math.min(done / total, 1);
  const full = Math.floor(share * BAR_WIDTH);
  const percent = String(Math.floor(share * 100)).padStart(3);
  const left = rate > 0 && done < total ? `, ${duration((total - done) / rate)} left` : "";
  const bar = `[${"#".repeat(full)}${"-".repeat(BAR_WIDTH - full)}]`;
  return `${bar} ${percent} %  ${done} of ${total} ${unit}${speed}${left}`;
}

/**
 * Starts the line of some work, which is at 0 of `total`. On a terminal it is drawn ten times a second at most and never
 * wraps; elsewhere a line is printed every five seconds, so short work prints none.
 */
export function startProgress(
  unit: string,
  total: number | null,
  screen: Screen = standardError(),
  now: () => number = () => performance.now(),
): Progress {
  const startedMs = now();
  let done = 0;
  let shown = false;
  let shownMs = startedMs - (screen.isTerminal ? REDRAW_MS : 0);

  function show(): void {
    shownMs = now();
    const line = progressText({ unit, done, total, elapsedMs: shownMs - startedMs });
    if (screen.isTerminal) screen.write(`\r${line.slice(0, Math.max(screen.columns() - 1, 0))}\x1b[K`);
    else screen.write(`${line}\n`);
    shown = true;
  }

  const clear = () => screen.isTerminal && shown ? "\r\x1b[K" : "";
  return {
    at(next) {
      done = next;
      if (now() - shownMs >= (screen.isTerminal ? REDRAW_MS : PLAIN_LINE_MS)) show();
    },
    say(line) {
      screen.write(`${clear()}${line}\n`);
      if (screen.isTerminal && shown) show();
    },
    [Symbol.dispose]() {
      if (clear()) screen.write(clear());
      shown = false;
    },
  };
}

/** Standard error as a screen. */
export function standardError(): Screen {
  const encoder = new TextEncoder();
  return {
    isTerminal: Deno.stderr.isTerminal(),
    columns: () => Deno.consoleSize().columns,
    write: (text) => void Deno.stderr.writeSync(encoder.encode(text)),
  };
}
