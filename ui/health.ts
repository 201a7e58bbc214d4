/**
 * How the machine is, as one sentence and part by part: by the processes' own beats, the broker, the audit and the page's
 * own connection. Pure.
 *
 * @module
 */
import type { LivePulse } from "../shared/ops/live.ts";
import type { Place, StoryQueue } from "../shared/ops/story.ts";
import { counted, formatDuration, formatTime } from "./format.ts";
import type { LiveStatus } from "./live_store.ts";

/** Fine, to be watched, or broken. */
export type Level = "good" | "warn" | "bad";

/** What is wrong with a part of the machine: on its box in a few words, and as a sentence. */
export interface Trouble {
  readonly place: Place;
  readonly level: Exclude<Level, "good">;
  readonly words: string;
  readonly sentence: string;
}

export interface Health {
  readonly level: Level;
  readonly sentence: string;
  /** All that is wrong, the worst first; the sentence has the first of it. */
  readonly all: readonly string[];
}

/** How long the outbox may be behind before that is said, and before it is called bad, in seconds. */
const OUTBOX_LATE = { warn: 5, bad: 60 } as const;

/** What is wrong with the parts of the machine, in the order of a message's way. */
export function troublesOf(pulse: LivePulse, queues: readonly StoryQueue[]): Trouble[] {
  const { outbox } = pulse;
  const relay = absence(pulse, "outbox-relay");
  const late = formatDuration(outbox.oldestSeconds * 1000);
  return [
    ...(outbox.pending > 0 && outbox.oldestSeconds >= OUTBOX_LATE.warn
      ? [
        {
          place: "outbox",
          level: outbox.oldestSeconds < OUTBOX_LATE.bad ? "warn" : "bad",
          words: `oldest ${late}`,
          sentence: `${counted(outbox.pending, "event")} waited up to ${late} in the outbox`,
        } as const,
      ]
      : []),
    ...(relay ? [trouble("relay", relay, `The relay is ${relay}: nothing is published`)] : []),
    ...(pulse.queues
      ? []
      : [trouble("exchange", "unreachable", "The broker cannot be reached: events wait in the outbox")]),
    ...queues.flatMap((queue) => consumerTrouble(pulse, queue)),
  ];
}

function trouble(place: Place, words: string, sentence: string): Trouble {
  return { place, level: "bad", words, sentence };
}

function consumerTrouble(pulse: LivePulse, { name, label }: StoryQueue): Trouble[] {
  const process = label.replaceAll(".", "-");
  const gone = absence(pulse, process);
  if (gone) return [trouble(`consumer:${name}`, gone, `The consumer ${process} is ${gone}`)];
  const queue = pulse.queues?.find((each) => each.queue === name);
  if (!pulse.queues || queue && queue.consumers > 0) return [];
  return queue
    ? [trouble(`consumer:${name}`, "not subscribed", `Nobody consumes the queue ${label}`)]
    : [trouble(`queue:${name}`, "not declared", `The broker has no queue ${label}`)];
}

/** In which way all copies of a process are away, by their heartbeats; null where one is there. */
function absence(pulse: LivePulse, name: string): string | null {
  const copies = pulse.processes.filter((process) => process.name === name);
  if (copies.some(({ isStale }) => !isStale)) return null;
  if (copies.length === 0) return "not running";
  const last = Math.max(...copies.map(({ seenAt }) => Date.parse(seenAt)));
  return `silent since ${formatDuration(Date.parse(pulse.at) - last)}`;
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
    return { level: "bad", sentence, all: [sentence] };
  }
  const letters = Object.values(pulse.deadLetters).reduce((sum, count) => sum + count, 0);
  const found: readonly (Pick<Trouble, "level" | "sentence">)[] = [
    ...(violations
      ? [{ level: "bad", sentence: `A promise is broken: ${counted(violations, "violation")}` } as const]
      : []),
    ...troublesOf(pulse, queues),
    ...(letters > 0
      ? [{ level: "warn", sentence: `${counted(letters, "dead letter")} to be decided on` } as const]
      : []),
  ];
  const all = found.toSorted((a, b) => Number(b.level === "bad") - Number(a.level === "bad"));
  const [first] = all;
  if (!first) {
    const sentence = violations === null ? "Every part runs" : "Every part runs, every promise holds";
    return { level: "good", sentence, all: [] };
  }
  const more = all.length > 1 ? ` (and ${all.length - 1} more)` : "";
  return { level: first.level, sentence: first.sentence + more, all: all.map(({ sentence }) => sentence) };
}
