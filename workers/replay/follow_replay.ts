/**
 * Follows a running replay to its end.
 *
 * @module
 */
import { pause } from "../../shared/stop.ts";
import { ApiError } from "../ops_client/ops_api.ts";
import type { ReplayApi, ToldReplay } from "./replay_api.ts";

/** Who is told how it goes. */
export interface Onlooker {
  /** Called with the replay after each look. */
  readonly progress: (replay: ToldReplay) => void;
  /** Called once when nothing has moved for ten seconds. */
  readonly stalled: (replay: ToldReplay) => void;
}

/** Between two looks, in milliseconds. */
const LOOK_MS = 500;
/** Looks in a row that may fail: half a minute, so that the API may be restarted meanwhile. */
const MAX_FAILED_LOOKS = 60;
/** Looks in a row without progress after which that is told: ten seconds. */
const STALLED_LOOKS = 20;
const CONFLICT = 409;

/**
 * Looks at the replay until it has ended, and answers with how; `stop` cancels it.
 *
 * Errors: `ApiError` when the API cannot be asked for half a minute. The replay goes on without anybody looking.
 */
export async function followReplay(
  api: ReplayApi,
  id: string,
  onlooker: Onlooker,
  stop: AbortSignal,
): Promise<ToldReplay> {
  let [failed, still, sent] = [0, 0, 0];
  for (;;) {
    if (stop.aborted) {
      const ended = await cancelled(api, id);
      onlooker.progress(ended);
      return ended;
    }
    try {
      const replay = await api.find(id);
      onlooker.progress(replay);
      if (replay.state === "DONE" || replay.state === "CANCELLED") return replay;
      still = replay.sent > sent ? 0 : still + 1;
      if (still === STALLED_LOOKS) onlooker.stalled(replay);
      [failed, sent] = [0, replay.sent];
    } catch (error) {
      if (!(error instanceof ApiError) || ++failed > MAX_FAILED_LOOKS) throw error;
    }
    await pause(LOOK_MS, stop);
  }
}

/** Cancels it, unless it has ended in the same moment. */
async function cancelled(api: ReplayApi, id: string): Promise<ToldReplay> {
  try {
    return await api.cancel(id);
  } catch (error) {
    if (error instanceof ApiError && error.status === CONFLICT) return await api.find(id);
    throw error;
  }
}
