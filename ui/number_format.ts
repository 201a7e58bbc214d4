/**
 * Figures as people read them. One locale, so that the server's page and the browser's agree.
 *
 * @module
 */
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1, minimumFractionDigits: 1 });

/** A count: `1,240`. */
export function formatCount(count: number): string {
  return whole.format(count);
}

/** A rate per second without its unit: `0`, `3.4`, `312`. */
export function formatRate(perSecond: number): string {
  if (perSecond < 0.05) return "0";
  return perSecond < 9.95 ? fine.format(perSecond) : whole.format(perSecond);
}

/** A length of time given in seconds, in one unit: `0.4 s`, `12 s`, `3 min`, `2 h`, `4 d`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds < 0.05 ? "0" : fine.format(seconds)} s`;
  if (seconds < 99.5) return `${whole.format(seconds)} s`;
  if (seconds < 99.5 * 60) return `${whole.format(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${whole.format(seconds / 3600)} h` : `${whole.format(seconds / 86_400)} d`;
}

/** A count with its noun: `1 event`, `3 events`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}
