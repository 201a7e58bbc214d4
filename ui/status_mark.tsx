/**
 * A mark for how something is. Its shape says the same as its colour.
 *
 * @module
 */
import type { Level } from "./machine_figures.ts";
import type { Rendered } from "./rendered.ts";

const SHAPES = {
  good: "M7 1.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11ZM4.5 7.2l1.8 1.8l3.3-3.8",
  warn: "M7 1.8L13 12.2H1ZM7 5.6v3M7 10.3v.2",
  bad: "M4.5 1.5h5l3 3v5l-3 3h-5l-3-3v-5ZM5.1 5.1l3.8 3.8M8.9 5.1L5.1 8.9",
} as const;

/** The mark, 14 units wide; `x` and `y` place it inside a drawing. Words stand beside it, so readers skip it. */
export function StatusMark(
  { level, x, y }: { readonly level: Level; readonly x?: number; readonly y?: number },
): Rendered {
  const place = x === undefined || y === undefined ? {} : { x, y };
  return (
    <svg
      class={`icon mark-${level}`}
      viewBox="0 0 14 14"
      width="14"
      height="14"
      aria-hidden="true"
      {...place}
    >
      <path d={SHAPES[level]} />
    </svg>
  );
}
