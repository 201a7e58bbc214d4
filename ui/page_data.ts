// What the server hands to the page, and what every part of the page can use from there on.

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { OrdersPage, OrderStoryJson, ScenarioInfo } from "../shared/ops/answers.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { Beat, StoryQueue } from "../shared/ops/story.ts";
import type { ApiClient } from "./api.ts";
import type { Navigate } from "./hooks.ts";
import type { ViewState } from "./url_state.ts";

/** The addresses of the island's script and of the style sheet. */
export interface PageAssets {
  readonly script: string;
  readonly styles: string;
}

/** An order, what happened to it, and the same as beats. */
export interface ToldStory extends OrderStoryJson {
  readonly beats: readonly Beat[];
}

/** Everything that the first paint shows, which the page's script finds again. */
export interface PageData {
  readonly view: ViewState;
  readonly pulse: LivePulse;
  /** The orders that the view's filters leave, at most as many as its limit. */
  readonly orders: OrdersPage;
  /** The story of the view's order; null where none is chosen, or there is no such order. */
  readonly story: ToldStory | null;
  readonly scenarios: readonly ScenarioInfo[];
  readonly queues: readonly StoryQueue[];
  /** Whether the server has a token, so that there is something to sign out of. */
  readonly hasToken: boolean;
  readonly assets: PageAssets;
}

/** What every part of the page can use: the routes, how everything stands, what is looked at, and what changes that. */
export interface Page extends Pick<PageData, "queues" | "scenarios" | "pulse" | "view"> {
  readonly api: ApiClient;
  /** Whether the pulse is old: nothing of it is shown as fresh then. */
  readonly isStale: boolean;
  /** The time at the server, in epoch milliseconds. */
  readonly now: number;
  readonly navigate: Navigate;
}

/** Provided by the page around all its parts. */
export const PageContext = createContext<Page | null>(null);

export function usePage(): Page {
  const page = useContext(PageContext);
  if (!page) throw new Error("usePage() is for what stands inside the page's PageContext.Provider");
  return page;
}
