// The page's icons and marks: small line drawings, each beside a word or on a button with a name.

import type { ComponentChildren } from "preact";
import type { OrderStatus } from "../shared/order_status.ts";
import { shortId } from "./format.ts";
import { formatView, START_VIEW } from "./url_state.ts";

const ICONS = {
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4 4l8 8M12 4l-8 8",
  clock: "M8 2.5a5.5 5.5 0 100 11 5.5 5.5 0 000-11zM8 5v3.2l2 1.3",
  hourglass:
    "M4.5 2.5h7M4.5 13.5h7M5.5 2.5c0 3 5 3.5 5 5.5s-5 2.5-5 5.5M10.5 2.5c0 3-5 3.5-5 5.5s5 2.5 5 5.5",
  card: "M2 4.5h12v7.5H2zM2 7h12",
  back: "M6 4L2.8 7.2 6 10.4M3 7.2h6.5a3.3 3.3 0 010 6.6H7",
  retry: "M12.8 6.5A5.2 5.2 0 103 9.5M13 3v3.6H9.4",
  copies: "M5.5 5.5h7v7h-7zM3.5 10.5v-7h7",
  letter: "M2.5 4h11v8.5h-11zM2.5 4.5L8 9l5.5-4.5",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  step: "M3.5 3l6 5-6 5zM12.5 3.5v9",
  queue: "M2.5 4h11M2.5 8h11M2.5 12h11",
  log: "M4 2.5h8v11H4zM6.2 5.5h3.6M6.2 8h3.6M6.2 10.5h2",
  play: "M4.5 3l8 5-8 5z",
  sun:
    "M8 5.2a2.8 2.8 0 100 5.6 2.8 2.8 0 000-5.6zM8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1",
  moon: "M13 9.5A5.5 5.5 0 116.5 3a4.4 4.4 0 006.5 6.5z",
  system: "M2 3h12v8H2zM6 13.5h4M8 11v2.5",
  search: "M7 2.8a4.2 4.2 0 100 8.4 4.2 4.2 0 000-8.4zM10.2 10.2l3.3 3.3",
  chevron: "M6 3.5L10.5 8 6 12.5",
  left: "M10 3.5L5.5 8l4.5 4.5",
  flow: "M3 4.5h4.5M3 8h10M8.5 11.5H13",
  exit: "M6.5 3h-4v10h4M9.5 5l3 3-3 3M12.5 8h-7",
  bolt: "M9 2L4 9h3.5L7 14l5-7H8.5z",
  good: "M8 2a6 6 0 100 12A6 6 0 008 2zM5.3 8.2l2 2 3.5-4",
  warn: "M8 2.5L14.5 13.5h-13zM8 6.5v3M8 11.5v.2",
  bad: "M5.5 2h5L14 5.5v5L10.5 14h-5L2 10.5v-5zM6 6l4 4M10 6l-4 4",
} as const;

export type IconName = keyof typeof ICONS;

/** One icon; hidden from screen readers, since a word says the same. */
export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={ICONS[name]} />
    </svg>
  );
}

const STATUSES: Readonly<Record<OrderStatus, readonly [tone: string, icon: IconName]>> = {
  PENDING: ["info", "clock"],
  PAID: ["accent", "card"],
  COMPLETED: ["good", "check"],
  PAYMENT_FAILED: ["bad", "cross"],
  REFUND_IN_PROGRESS: ["warn", "clock"],
  REFUNDED: ["warn", "back"],
};

/** An order's status as a word, an icon and a colour. */
export function StatusBadge({ status }: { readonly status: OrderStatus }) {
  const [tone, icon] = STATUSES[status];
  return <Badge tone={tone} icon={icon}>{status}</Badge>;
}

export function Badge(
  { tone, icon, children }: {
    readonly tone: string;
    readonly icon?: IconName;
    readonly children: ComponentChildren;
  },
) {
  return (
    <span class={`badge ${tone}`}>
      {icon && <Icon name={icon} />}
      {children}
    </span>
  );
}

/** Fine, to be watched, or broken. */
export type Level = "good" | "warn" | "bad";

/** A sentence that stands out; what is bad is read out at once. */
export function Notice(
  { level, children }: { readonly level: Level; readonly children: ComponentChildren },
) {
  return (
    <p class={`notice ${level}`} role={level === "bad" ? "alert" : "status"}>
      <Icon name={level} />
      <span>{children}</span>
    </p>
  );
}

/** Links to an order's film. */
export function OrderLink({ id }: { readonly id: string }) {
  return <a class="mono" href={formatView({ ...START_VIEW, order: id })} title={id}>{shortId(id)}</a>;
}
