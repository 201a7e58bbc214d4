// Figures in words: the same in logs, in the terminal and on the page. Pure: no time zone, no locale.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** A number with its thousands set apart: `1,240`. */
export function formatCount(count: number): string {
  return whole.format(count);
}

/** How long something took, from milliseconds: `3 ms`, `840 ms`, `8.0 s`, `1 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function duration(ms: number): string {
  const span = Math.max(0, ms);
  if (span < 999.5) return span > 0 && span < 1 ? "<1 ms" : `${Math.round(span)} ms`;
  if (span < 59_950) return `${(span / 1000).toFixed(1)} s`;
  const seconds = Math.round(span / 1000);
  if (seconds < 3600) return pair(seconds, 60, "min", "s");
  if (seconds < 86_400) return pair(Math.round(seconds / 60), 60, "h", "min");
  return pair(Math.round(seconds / 3600), 24, "d", "h");
}

function pair(amount: number, per: number, large: string, small: string): string {
  const rest = amount % per;
  return `${Math.floor(amount / per)} ${large}${rest > 0 ? ` ${rest} ${small}` : ""}`;
}

/** A number with the word for so many: `1 message`, `2,000 messages`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** Several things in a row: `a`, `a and b`, `a, b, and c`. */
export function listOf(words: readonly string[]): string {
  return words.length < 3 ? words.join(" and ") : `${words.slice(0, -1).join(", ")}, and ${words.at(-1)}`;
}
