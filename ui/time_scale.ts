/**
 * When the beats of a story were, on a line that is true to time. Pure.
 *
 * @module
 */

export interface TimeScale {
  /** Where each time stands, from 0 to 1. */
  readonly positions: readonly number[];
  /** The stretch in which nothing happened and which was cut short, if any: where it is, and how long it took. */
  readonly gap: { readonly from: number; readonly to: number; readonly ms: number } | null;
}

/** A stretch is cut where it is so many times as long as all the rest together. */
const CUT_FROM = 2;
/** How much of the line a stretch that was cut keeps. */
const CUT_TO = 0.08;

/** Places times, given in milliseconds in rising order; the longest stretch between two of them is cut if it is most of all. */
export function timeScale(times: readonly number[]): TimeScale {
  const [start = 0, end = 0] = [times[0], times.at(-1)];
  const gaps = times.slice(1).map((time, i) => time - (times[i] ?? time));
  const longest = Math.max(...gaps, 0);
  const rest = end - start - longest;
  const place = (ms: number, scale: number) => scale === 0 ? 0 : ms / scale;
  if (longest === 0 || longest <= CUT_FROM * rest || gaps.length < 2 || rest === 0) {
    return { positions: times.map((time) => place(time - start, end - start)), gap: null };
  }
  const before = gaps.indexOf(longest);
  const positions = times.map((time, i) =>
    i <= before
      ? place(time - start, rest) * (1 - CUT_TO)
      : place(time - start - longest, rest) * (1 - CUT_TO) + CUT_TO
  );
  return { positions, gap: { from: positions[before] ?? 0, to: positions[before + 1] ?? 1, ms: longest } };
}
