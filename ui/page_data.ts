/**
 * What the server hands to the page, and the page's script finds again: everything that the first paint shows.
 *
 * @module
 */
import type { LiveOrder, LivePulse } from "../shared/ops/live.ts";
import type { OrderStoryJson, ScenarioInfo } from "../shared/ops/answers.ts";
import type { ViewState } from "./url_state.ts";

/** Orders, newest first. */
export interface OrderPage {
  /** The orders. */
  readonly orders: readonly LiveOrder[];
  /** Behind which the next page begins; null where this is the last one. */
  readonly nextCursor: string | null;
}

/** Where the page's script and styles are. */
export interface PageAssets {
  /** The address of the island's script. */
  readonly script: string;
  /** The address of the style sheet. */
  readonly styles: string;
}

/** Everything that the first paint shows. */
export interface PageData {
  /** What is being looked at. */
  readonly view: ViewState;
  /** How everything stands. */
  readonly pulse: LivePulse;
  /** The orders that the view's filters leave, at most as many as its limit. */
  readonly orders: OrderPage;
  /** The story of the view's order, times as ISO strings; null where none is chosen, or there is no such order. */
  readonly story: OrderStoryJson | null;
  /** What can be played. */
  readonly scenarios: readonly ScenarioInfo[];
  /** Where the script and the styles are. */
  readonly assets: PageAssets;
}
