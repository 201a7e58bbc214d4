/**
 * The page's icons: small line drawings, each beside a word or on a button with a name.
 *
 * @module
 */
import type { Rendered } from "./rendered.ts";

const PATHS: Readonly<Record<IconName, string>> = {
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4 4l8 8M12 4l-8 8",
  clock: "M8 2.5a5.5 5.5 0 100 11 5.5 5.5 0 000-11zM8 5v3.2l2 1.3",
  card: "M2 4.5h12v7.5H2zM2 7h12",
  back: "M6 4L2.8 7.2 6 10.4M3 7.2h6.5a3.3 3.3 0 010 6.6H7",
  retry: "M12.8 6.5A5.2 5.2 0 103 9.5M13 3v3.6H9.4",
  copies: "M5.5 5.5h7v7h-7zM3.5 10.5v-7h7",
  letter: "M2.5 4h11v8.5h-11zM2.5 4.5L8 9l5.5-4.5",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M4.5 3l8 5-8 5z",
  sun:
    "M8 5.2a2.8 2.8 0 100 5.6 2.8 2.8 0 000-5.6zM8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1",
  moon: "M13 9.5A5.5 5.5 0 116.5 3a4.4 4.4 0 006.5 6.5z",
  system: "M2 3h12v8H2zM6 13.5h4M8 11v2.5",
  search: "M7 2.8a4.2 4.2 0 100 8.4 4.2 4.2 0 000-8.4zM10.2 10.2l3.3 3.3",
  arrow: "M3 8h9.5M9 4.5L12.5 8 9 11.5",
  chevron: "M6 3.5L10.5 8 6 12.5",
  left: "M10 3.5L5.5 8l4.5 4.5",
  flow: "M3 4.5h4.5M3 8h10M8.5 11.5H13",
  offline:
    "M2 2l12 12M4.6 8.6a5 5 0 012.2-1.2M2.3 6.3a8.4 8.4 0 012.5-1.6M7.6 4a8.4 8.4 0 016.1 2.3M8 11.8v.2",
  inbox: "M2.5 9l2-5.5h7l2 5.5v3.5h-11zM2.5 9H6l.8 1.5h2.4L10 9h3.5",
};

/** The name of an icon. */
export type IconName =
  | "arrow"
  | "back"
  | "card"
  | "check"
  | "chevron"
  | "clock"
  | "copies"
  | "cross"
  | "flow"
  | "inbox"
  | "left"
  | "letter"
  | "moon"
  | "offline"
  | "pause"
  | "play"
  | "retry"
  | "search"
  | "sun"
  | "system";

/** One icon; hidden from screen readers, since a word says the same. */
export function Icon({ name }: { readonly name: IconName }): Rendered {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
