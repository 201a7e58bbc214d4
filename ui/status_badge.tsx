/**
 * An order's status as a word, an icon and a colour.
 *
 * @module
 */
import type { OrderStatus } from "../shared/order_status.ts";
import { Icon, type IconName } from "./icon.tsx";
import type { Rendered } from "./rendered.ts";

/** How a status looks. */
export interface StatusLook {
  /** The tone of its colours: a class of the style sheet. */
  readonly tone: "info" | "accent" | "good" | "bad" | "warn";
  /** Its icon. */
  readonly icon: IconName;
}

/** How each status looks. */
export const STATUS_LOOKS: Readonly<Record<OrderStatus, StatusLook>> = {
  PENDING: { tone: "info", icon: "clock" },
  PAID: { tone: "accent", icon: "card" },
  COMPLETED: { tone: "good", icon: "check" },
  PAYMENT_FAILED: { tone: "bad", icon: "cross" },
  REFUND_IN_PROGRESS: { tone: "warn", icon: "clock" },
  REFUNDED: { tone: "warn", icon: "back" },
};

/** An order's status. */
export function StatusBadge({ status }: { readonly status: OrderStatus }): Rendered {
  const { tone, icon } = STATUS_LOOKS[status];
  return (
    <span class={`badge ${tone}`}>
      <Icon name={icon} />
      {status}
    </span>
  );
}
