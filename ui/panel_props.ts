/**
 * What every panel of the page is given.
 *
 * @module
 */
import type { LivePulse } from "../shared/ops/live.ts";
import type { ApiClient } from "./api_client.ts";

/** What every panel is given. */
export interface PanelProps {
  /** The routes. */
  readonly api: ApiClient;
  /** How everything stands; null before the first pulse. */
  readonly pulse: LivePulse | null;
  /** Whether the pulse is old: the stream is broken, or paused. Nothing of it is shown as fresh then. */
  readonly isStale: boolean;
  /** Selects an order, by its id. */
  readonly onSelectOrder: (orderId: string) => void;
}
