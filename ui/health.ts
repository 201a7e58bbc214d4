/**
 * How the machine is, as one sentence and part by part: by the processes' own beats, the broker, what is held, the audit
 * and the page's own connection. Pure.
 *
 * @module
 */
import { placeOf } from "../shared/ops/holds.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { Place, StoryQueue } from "../shared/ops/story.ts";
import { duration } from "../shared/words.ts";
import { counted, formatTime, sumOf } from "./format.ts";
import type { LiveStatus } from "./live.ts";

/** Fine, to be watched, or broken. */
export type Level = "good" | "warn" | "bad";

/** What is wrong with a part of the machine: on its box in a few words, and as a sentence. */
export interface Trouble {
  readonly place: Place;
  /** An operator holds it: that is wanted, and never called well. */
  readonly level: "warn" | "bad" | "held";
  readonly words: string;
  readonly sentence: string;
}

export interface Health {
  readonly level: Level;
  readonly sentence: string;
  /** All that is wrong, the worst first; the sentence has the first of it. */
  readonly all: readonly (readonly [Level, string])[];
}

/** How long the outbox may be behind before that is said, and before it is called bad, in seconds. */
const OUTBOX_LATE = { warn: 5, bad: 60 } as const;

/** What is wrong with the parts of the machine: in the order of a message's way, and then what is held. */
export function troublesOf(pulse: LivePulse, queues: readonly StoryQueue[]): Trouble[] {
  const { outbox } = pulse;
  const relay = absence(pulse, "outbox-relay");
  const late = duration(outbox.oldestSeconds * 1000);
  const found: Trouble[] = [];
  if (outbox.pending > 0 && outbox.oldestSeconds >= OUTBOX_LATE.warn) {
    const level = outbox.oldestSeconds < OUTBOX_LATE.bad ? "warn" : "bad";
    const sentence = `${counted(outbox.pending, "event")} waited up to ${late} in the outbox`;
    found.push({ place: "outbox", level, words: `oldest ${late}`, sentence });
  }
  if (relay) found.push(trouble("relay", relay, `The relay is ${relay}: nothing is published`));
  if (!pulse.queues) {
    found.push(trouble("exchange", "unreachable", "The broker cannot be reached: events wait in the outbox"));
  }
  return [
    ...found,
    ...queues.flatMap((queue) => consumerTrouble(pulse, queue)),
    ...pulse.holds.map((hold) => heldTrouble(hold, queues)),
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
  return `silent since ${duration(Date.parse(pulse.at) - last)}`;
}

function heldTrouble(
  { part, until, because, steps }: LivePulse["holds"][number],
  queues: readonly StoryQueue[],
): Trouble {
  const why = because ? ` (${because})` : "";
  return {
    place: placeOf(part),
    level: "held",
    words: steps > 0 ? `held, ${counted(steps, "step")}` : "held",
    sentence: `${partName(part, queues)} is held until ${formatTime(until).slice(0, 5)} UTC${why}`,
  };
}

/** What to call a part that can be held: `The relay`, `payments.order-created, before its commit`. */
export function partName(part: string, queues: readonly StoryQueue[]): string {
  const queue = queues.find(({ name }) => placeOf(part) === `consumer:${name}`);
  const name = queue?.label ?? "The relay";
  if (part === (queue?.name ?? "relay")) return name;
  return `${name}, before ${queue ? "its commit" : "it marks what is published"}`;
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
  const letters = sumOf(pulse.deadLetters);
  const found = troublesOf(pulse, queues).map(({ level, sentence }): readonly [Level, string] => {
    return [level === "held" ? "warn" : level, sentence];
  });
  if (violations) found.unshift(["bad", `A promise is broken: ${counted(violations, "violation")}`]);
  if (letters > 0) found.push(["warn", `${counted(letters, "dead letter")} to be decided on`]);
  const all = found.toSorted(([a], [b]) => Number(b === "bad") - Number(a === "bad"));
  const [first] = all;
  if (!first) {
    const sentence = violations === null ? "Every part runs" : "Every part runs, every promise holds";
    return { level: "good", sentence, all: [] };
  }
  const more = all.length > 1 ? ` (and ${all.length - 1} more)` : "";
  return { level: first[0], sentence: first[1] + more, all };
}
