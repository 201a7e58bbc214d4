/**
 * Lengths of time, for people.
 *
 * @module
 */

const UNITS = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]] as const;

/** Seconds in their two largest units, such as `34 s`, `3 min 4 s` or `2 d`; what is below a second is cut off. */
export function duration(seconds: number): string {
  let left = Math.max(Math.floor(seconds), 0);
  const first = UNITS.findIndex(([, size]) => left >= size);
  const parts = UNITS.slice(first < 0 ? -1 : first).slice(0, 2).map(([unit, size]) => {
    const count = Math.floor(left / size);
    left -= count * size;
    return { count, text: `${count} ${unit}` };
  });
  return parts.filter(({ count }, i) => i === 0 || count > 0).map(({ text }) => text).join(" ");
}
