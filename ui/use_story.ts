/**
 * The story of the selected order, read again while there may be more to it.
 *
 * @module
 */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { isFinal } from "../shared/order_status.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import { type ApiClient, ApiError, createLatestOnly, problemOf } from "./api.ts";
import type { ToldStory } from "./page_data.ts";

/** Between two requests for the story at least, in milliseconds. */
const REREAD_MS = 500;

export interface FollowedStory {
  readonly orderId: string | null;
  /** Null while it is read, and where it cannot be. */
  readonly story: ToldStory | null;
  /** Why it could not be read the last time, in words. */
  readonly error: string | null;
  /** Whether there is no such order, so that nothing more is to be asked. */
  readonly isMissing: boolean;
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

/** Follows the order `orderId`. `initial` is what the page came with; a new `nudge` has it read again. */
export function useStory(
  api: ApiClient,
  orderId: string | null,
  pulse: LivePulse,
  initial: ToldStory | null,
  nudge: unknown,
): FollowedStory {
  const [state, setState] = useState<FollowedStory>({
    orderId,
    story: initial,
    error: orderId && !initial ? `There is no order ${orderId}.` : null,
    isMissing: orderId !== null && !initial,
  });
  const latestOnly = useRef(createLatestOnly());
  const wanted = useRef(orderId);
  const readAt = useRef(-Infinity);
  const isFirst = useRef(true);
  wanted.current = orderId;

  const read = useCallback(async (id: string) => {
    readAt.current = performance.now();
    try {
      const story = await latestOnly.current(() => api.readStory(id));
      if (story && wanted.current === id) setState({ orderId: id, story, error: null, isMissing: false });
    } catch (error) {
      if (wanted.current !== id) return;
      const isMissing = error instanceof ApiError && error.status === 404;
      setState((old) => {
        const story = old.orderId === id ? old.story : null;
        return { orderId: id, story, error: problemOf(error), isMissing };
      });
    }
  }, [api]);

  useEffect(() => {
    const isRendered = isFirst.current;
    isFirst.current = false;
    if (isRendered) return;
    if (orderId !== state.orderId) setState({ orderId, story: null, error: null, isMissing: false });
    if (orderId) read(orderId);
  }, [orderId, nudge, read]);

  useEffect(() => {
    const { story } = state;
    if (!orderId || state.orderId !== orderId || state.isMissing) return;
    if (story ? !needsRereading(story, pulse) : !state.error) return; // or it is being read for the first time
    const wait = Math.max(0, readAt.current + REREAD_MS - performance.now());
    const timer = setTimeout(() => read(orderId), wait);
    return () => clearTimeout(timer);
  }, [pulse, orderId, read]);

  return state.orderId === orderId ? state : { orderId, story: null, error: null, isMissing: false };
}
