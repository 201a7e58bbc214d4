/**
 * The story of the selected order, read again while there may be more to it.
 *
 * @module
 */
import { useRef } from "preact/hooks";
import { isFinal } from "../shared/order_status.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { ApiClient } from "./api.ts";
import type { ToldStory } from "./page_data.ts";
import { useRows } from "./use_rows.ts";

export interface FollowedStory {
  /** Null while it is read, and where it cannot be. */
  readonly story: ToldStory | null;
  /** Why it could not be read the last time, in words. */
  readonly error: string | null;
}

/** Whether nothing more is to be expected: the order has ended, and none of its messages is on its way. */
export function isSettled({ order, beats }: ToldStory): boolean {
  const messages = beats.at(-1)?.messages ?? [];
  return isFinal(order.status) && messages.every(({ state }) => state !== "waits" && state !== "retry");
}

/** Whether a story has to be read again: its order has changed in the list, or something is still on its way. */
export function needsRereading(story: ToldStory, pulse: LivePulse): boolean {
  const listed = pulse.orders.find(({ id }) => id === story.order.id);
  return (listed !== undefined && listed.updatedAt !== story.order.updatedAt) || !isSettled(story);
}

/** Follows the order `orderId`. `initial` is what the page came with; with a new `done` it is read again. */
export function useStory(
  api: ApiClient,
  orderId: string | null,
  pulse: LivePulse,
  initial: ToldStory | null,
  done: number,
): FollowedStory {
  const last = useRef(initial);
  const load = async () => ({ rows: orderId ? [await api.readStory(orderId)] : [], nextCursor: null });
  const isHeld = orderId === null || last.current !== null && !needsRereading(last.current, pulse);
  const { rows, problem, isLoading } = useRows<ToldStory>(load, `${orderId} ${done}`, {
    tick: pulse.at,
    isHeld,
    initial: { rows: initial ? [initial] : [], nextCursor: null },
  });
  const story = rows?.find(({ order }) => order.id === orderId) ?? null;
  last.current = story;
  const isMissing = orderId !== null && !isLoading && rows?.length === 0;
  return { story, error: problem ?? (isMissing ? `There is no order ${orderId}.` : null) };
}
