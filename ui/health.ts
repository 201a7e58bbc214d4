// How the whole is, as one sentence: by what is wrong with the machine, the audit, and the page's own connection. Pure.

import { troublesOf } from "../shared/ops/health.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { StoryQueue } from "../shared/ops/story.ts";
import { counted } from "../shared/words.ts";
import { formatTime } from "./format.ts";
import type { LiveStatus } from "./live.ts";

/** Fine, to be watched, or broken. */
export type Level = "good" | "warn" | "bad";

export interface Health {
  readonly level: Level;
  readonly sentence: string;
  /** All that is wrong, the worst first; the sentence has the first of it. */
  readonly all: readonly (readonly [Level, string])[];
}

/** The whole in one sentence. `violations` is what the last audit has found; null before the first. */
export function healthOf(
  pulse: LivePulse,
  queues: readonly StoryQueue[],
  status: LiveStatus,
  violations: number | null,
): Health {
  if (status === "offline" || status === "stale") {
    const what = status === "offline" ? "Disconnected" : "Nothing has been heard";
    const sentence = `${what}: all this is as of ${formatTime(pulse.at)} UTC`;
    return { level: "bad", sentence, all: [["bad", sentence]] };
  }
  const found = troublesOf(pulse, queues).map(({ level, sentence }): readonly [Level, string] => {
    return [level === "held" ? "warn" : level, sentence];
  });
  if (violations) found.unshift(["bad", `A promise is broken: ${counted(violations, "violation")}`]);
  const all = found.toSorted(([a], [b]) => Number(b === "bad") - Number(a === "bad"));
  const [first] = all;
  if (!first) {
    const sentence = violations === null ? "Every part runs" : "Every part runs, every promise holds";
    return { level: "good", sentence, all: [] };
  }
  const more = all.length > 1 ? ` (and ${all.length - 1} more)` : "";
  return { level: first[0], sentence: first[1] + more, all };
}
