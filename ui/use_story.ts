/**
 * The story of the selected order, read again while there may be more to it.
 *
 * @module
 */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { LivePulse } from "../shared/ops/live.ts";
import { type ApiClient, ApiError } from "./api_client.ts";
import type { OrderStoryJson } from "../shared/ops/answers.ts";
import { createLatestOnly } from "./latest_only.ts";
import { isSettled } from "./story_events.ts";

/** Between two requests for the story at least, in milliseconds. */
const REREAD_MS = 500;
/** How often a story is read again in the hope of a change, before that is given up. */
const MAX_LOOKS = 20;

/** What is known of the selected order. */
export interface StoryState {
  /** The order that is asked for. */
  readonly orderId: string | null;
  /** Its story; null while it is read, and where it cannot be. */
  readonly story: OrderStoryJson | null;
  /** Why it could not be read the last time, in words. */
  readonly error: string | null;
  /** Whether there is no such order, so that nothing more is to be asked. */
  readonly isMissing: boolean;
}

/** The selected order's story. */
export interface FollowedStory extends StoryState {
  /** Reads it again and again until `isDone`, for ten seconds at most; whether it came to that. */
  readonly watch: (isDone: (story: OrderStoryJson) => boolean) => Promise<boolean>;
}

/** Whether a story has to be read again: its order has changed in the list, or something is still on its way. */
export function needsRereading(story: OrderStoryJson, pulse: LivePulse): boolean {
  const listed = pulse.orders.find(({ id }) => id === story.order.id);
  return (listed !== undefined && listed.updatedAt !== story.order.updatedAt) || !isSettled(story);
}

/** Follows the order `orderId`. `initial` is what the page came with. */
export function useStory(
  api: ApiClient,
  orderId: string | null,
  pulse: LivePulse,
  initial: OrderStoryJson | null,
): FollowedStory {
  const [state, setState] = useState<StoryState>({
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
      return story;
    } catch (error) {
      const words = error instanceof Error ? error.message : String(error);
      if (wanted.current === id) {
        setState((old) => ({
          orderId: id,
          story: old.orderId === id ? old.story : null,
          error: words,
          isMissing: error instanceof ApiError && error.status === 404,
        }));
      }
      return null;
    }
  }, [api]);

  useEffect(() => {
    const isRendered = isFirst.current;
    isFirst.current = false;
    if (isRendered) return;
    setState({ orderId, story: null, error: null, isMissing: false });
    if (orderId) read(orderId);
  }, [orderId, read]);

  useEffect(() => {
    const { story } = state;
    if (
      !orderId || state.orderId !== orderId || state.isMissing || (story && !needsRereading(story, pulse))
    ) return;
    if (!story && !state.error) return; // it is being read for the first time
    const wait = Math.max(0, readAt.current + REREAD_MS - performance.now());
    const timer = setTimeout(() => read(orderId), wait);
    return () => clearTimeout(timer);
  }, [pulse, orderId, read]);

  const watch = useCallback(async (isDone: (story: OrderStoryJson) => boolean) => {
    for (let look = 0; look < MAX_LOOKS; look++) {
      const id = wanted.current;
      const story = id ? await read(id) : null;
      if (story && isDone(story)) return true;
      await new Promise((resolve) => setTimeout(resolve, REREAD_MS));
      if (id !== wanted.current) return false;
    }
    return false;
  }, [read]);

  return state.orderId === orderId
    ? { ...state, watch }
    : { orderId, story: null, error: null, isMissing: false, watch };
}
