// What is wrong with the machine, part by part, and what helps: one decision for the page and for `deno task status`. Pure.

import { counted, duration } from "../words.ts";
import { placeOf } from "./holds.ts";
import type { LivePulse } from "./live.ts";
import { labelOf, type Place, type StoryQueue } from "./story.ts";

export interface Trouble {
  /** The part of the machine where it shows; null where it is not drawn. */
  readonly place: Place | null;
  /** An operator holds it: that is wanted, and never called well. */
  readonly level: "warn" | "bad" | "held";
  /** What stands on the part's box. */
  readonly words: string;
  readonly sentence: string;
  /** What helps; null where it may well pass by itself. */
  readonly help: string | null;
  /** What helps ends with `deno task` and this. */
  readonly task?: string;
}

/** What is known of the machine, by the processes' own beats, the broker and the database. */
type Figures = Pick<LivePulse, "at" | "outbox" | "queues" | "processes" | "holds" | "deadLetters">;

/**
 * An event that has waited this long for the relay, in seconds, is said to be late; or not to be on its way, since the relay
 * looks every second.
 */
const OUTBOX_LATE = { warn: 5, bad: 30 } as const;

/** What is wrong: in the order of a message's way, and then what is held and what somebody has to decide. */
export function troublesOf(figures: Figures, queues: readonly StoryQueue[]): Trouble[] {
  return [
    ...processTroubles(figures, "api", "api", "The API"),
    ...outboxTroubles(figures),
    ...processTroubles(figures, "relay", "outbox-relay", "The relay", ": nothing is published"),
    ...brokerTroubles(figures),
    ...queues.flatMap((queue) => consumerTroubles(figures, queue)),
    ...clockTroubles(figures),
    ...figures.holds.map((hold) => heldTrouble(hold, queues)),
    ...letterTroubles(figures, queues),
  ];
}

function outboxTroubles({ outbox: { pending, oldestSeconds } }: Figures): Trouble[] {
  if (pending === 0 || oldestSeconds < OUTBOX_LATE.warn) return [];
  const late = duration(oldestSeconds * 1000);
  const isBad = oldestSeconds >= OUTBOX_LATE.bad;
  return [{
    place: "outbox",
    level: isBad ? "bad" : "warn",
    words: `oldest ${late}`,
    sentence: `${counted(pending, "event")} waited up to ${late} in the outbox`,
    help: isBad ? "does the broker take them? /ops/outbox?published=false has the last error" : null,
  }];
}

function brokerTroubles({ queues }: Figures): Trouble[] {
  if (queues) return [];
  return [{
    place: "exchange",
    level: "bad",
    words: "unreachable",
    sentence: "The broker cannot be reached: events wait in the outbox",
    help: "they go on when it is back",
  }];
}

/** In which way copies of a process are away, by their heartbeats; `effect` is what that comes to where there is none. */
function processTroubles(
  { at, processes }: Figures,
  place: Place,
  process: string,
  subject: string,
  effect = "",
): Trouble[] {
  const copies = processes.filter(({ name }) => name === process);
  if (copies.length === 0) {
    if (place === "api") return []; // it has answered: there is one, whatever the beats say
    const sentence = `${subject} is not running${effect}`;
    const help = { help: "start one with", task: `worker:${process}` };
    return [{ place, level: "bad", words: "not running", sentence, ...help }];
  }
  const silent = copies.filter(({ isStale }) => isStale);
  const isGone = silent.length === copies.length;
  return silent.map(({ pid, host, seenAt }) => {
    const words = `silent since ${duration(Date.parse(at) - Date.parse(seenAt))}`;
    return {
      place,
      level: isGone ? "bad" : "warn",
      words,
      sentence: isGone ? `${subject} is ${words}${effect}` : `${subject} has a copy that is ${words}`,
      help: `process ${pid} on ${host} was killed, or is stuck`,
    };
  });
}

function consumerTroubles(figures: Figures, { name, label }: StoryQueue): Trouble[] {
  const place: Place = `consumer:${name}`;
  const process = label.replaceAll(".", "-");
  const subject = `The consumer ${process}`;
  const away = processTroubles(figures, place, process, subject);
  const queue = figures.queues?.find((each) => each.queue === name);
  if (!queue || queue.consumers > 0 || away.some(({ level }) => level === "bad")) return away;
  const waiting = counted(queue.messages, "message waits", "messages wait");
  return [...away, {
    place,
    level: "bad",
    words: "not subscribed",
    sentence: `Nobody consumes ${label}, where ${waiting}`,
    help: "its process runs, and subscribes again by itself: start it anew where it does not",
  }];
}

function clockTroubles({ processes }: Figures): Trouble[] {
  return processes.filter(({ isStale }) => !isStale).flatMap(({ name, pid, host, clockAheadMs = 0 }) => {
    if (clockAheadMs === 0) return []; // the API tells of clocks that are wrong, and no others
    const direction = clockAheadMs > 0 ? "ahead of" : "behind";
    const off = `${duration(Math.abs(clockAheadMs))} ${direction} the database's`;
    return {
      place: null,
      level: "warn",
      words: "wrong clock",
      sentence: `The clock of ${name} (process ${pid} on ${host}) is ${off}`,
      help: "set the wrong one, by NTP for example",
    };
  });
}

function heldTrouble(
  { part, until, because, steps }: Figures["holds"][number],
  queues: readonly StoryQueue[],
): Trouble {
  const why = because ? ` (${because})` : "";
  return {
    place: placeOf(part),
    level: "held",
    words: steps > 0 ? `held, ${counted(steps, "step")}` : "held",
    sentence: `${partName(part, queues)} is held until ${until.slice(11, 16)} UTC${why}`,
    help: `let it go on with DELETE /ops/holds/${part}`,
  };
}

function letterTroubles({ deadLetters }: Figures, queues: readonly StoryQueue[]): Trouble[] {
  return Object.entries(deadLetters).map(([consumer, count]) => ({
    place: null,
    level: "warn",
    words: `${count} dead`,
    sentence: `${counted(count, "dead letter")} of ${labelOf(consumer, queues)} to be decided on`,
    help: "look at them with",
    task: `redrive --consumer=${consumer} --dry-run`,
  }));
}

/** What to call a part that can be held: `The relay`, `payments.order-created, before its commit`. */
export function partName(part: string, queues: readonly StoryQueue[]): string {
  const queue = queues.find(({ name }) => placeOf(part) === `consumer:${name}`);
  const name = queue?.label ?? "The relay";
  if (part === (queue?.name ?? "relay")) return name;
  return `${name}, before ${queue ? "its commit" : "it marks what is published"}`;
}
