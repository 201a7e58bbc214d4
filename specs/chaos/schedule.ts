/**
 * The schedule of a chaos run: which fault strikes when. Pure; the same seed gives the same schedule.
 *
 * @module
 */
import { API, CONSUMERS, RELAY } from "../../workers/dev/processes.ts";
import { dealFrom, type Random, seededRandom } from "./random.ts";

/** The kinds of fault, with what each does. */
export const FAULT_KINDS = {
  kill: "SIGKILL of a process, which is started again",
  copy: "a second copy of a process for a while, then SIGKILL of it",
  hold: "a consumer is stopped for a while, so that other queues' events come early",
  cut: "nobody reaches a service for a while",
  blip: "all connections to a service break at once",
  wipe: "the broker loses its queues and all that is in them",
  restart: "the database crashes and comes back",
  duplicate: "events are published again",
  reverse: "events are sent to their consumers once more, the newest first",
  malform: "messages that can never be processed",
} as const;

/** A kind of fault. */
export type FaultKind = keyof typeof FAULT_KINDS;

/** One fault. */
export interface Fault {
  /** Its number in the schedule, from 1. */
  readonly number: number;
  /** It strikes once so many orders have been accepted: an order's number, no time, so the clock has no say. */
  readonly at: number;
  /** What happens. */
  readonly kind: FaultKind;
  /** To whom: a process, `database` or `broker`, or `events`. */
  readonly target: string;
  /** For how long, in milliseconds; 0 for what has no length. */
  readonly lastsMs: number;
  /** How many events or messages it is about; 0 where it is about none. */
  readonly messages: number;
  /** The seed of what the fault itself chooses. */
  readonly seed: number;
}

/** What is to be scheduled. */
export interface SchedulePlan {
  /** Determines everything. */
  readonly seed: number;
  /** The number of orders of the run. */
  readonly orders: number;
  /** How many faults to spread over them. */
  readonly faults: number;
}

const consumers = CONSUMERS.map(({ name }) => name);

/** Whom each kind can strike. */
const TARGETS: Readonly<Record<FaultKind, readonly string[]>> = {
  kill: [API.name, RELAY.name, ...consumers],
  copy: [RELAY.name, ...consumers],
  hold: consumers,
  cut: ["database", "broker"],
  blip: ["database", "broker"],
  wipe: ["broker"],
  restart: ["database"],
  duplicate: ["events"],
  reverse: ["events"],
  malform: consumers,
};

/** Lengths in milliseconds, from and to: long enough to hurt, short enough to leave time for the next one. */
const LASTS: Readonly<Partial<Record<FaultKind, readonly [number, number]>>> = {
  copy: [1000, 3000],
  hold: [300, 1500],
  cut: [200, 1500],
  restart: [300, 1500],
};

/** Numbers of messages, from and to. */
const MESSAGES: Readonly<Partial<Record<FaultKind, readonly [number, number]>>> = {
  duplicate: [20, 200],
  reverse: [20, 200],
  malform: [5, 15],
};

/** A deck of kinds: each once, kills three times, as there are the most processes to kill. */
const DECK = ["kill", "kill", ...Object.keys(TARGETS) as FaultKind[]] as const;

/** Faults strike between these shares of the orders: there is load before the first and after the last one. */
const [FIRST, LAST] = [0.05, 0.95];

/**
 * Chooses the faults, in the order in which they strike. Kinds and targets are dealt from decks: with 12 faults or more
 * every kind is among them, with 36 or more every process is killed.
 */
export function scheduleFaults({ seed, orders, faults }: SchedulePlan): Fault[] {
  const random = seededRandom(seed);
  const nextKind = dealFrom<FaultKind>(DECK, random);
  const nextTarget = new Map<FaultKind, () => string>();
  const targetOf = (kind: FaultKind) => {
    const [first = "", ...others] = TARGETS[kind];
    const deal = nextTarget.get(kind) ?? dealFrom([first, ...others], random);
    nextTarget.set(kind, deal);
    return deal();
  };
  return Array.from({ length: faults }, (_, i) => {
    const kind = nextKind();
    const share = FIRST + (LAST - FIRST) * (i + random.fraction()) / faults;
    return {
      number: i + 1,
      at: Math.max(1, Math.floor(orders * share)),
      kind,
      target: targetOf(kind),
      lastsMs: within(LASTS[kind], random),
      messages: within(MESSAGES[kind], random),
      seed: random.int(0, 2 ** 32 - 1),
    };
  });
}

function within(range: readonly [number, number] | undefined, random: Random): number {
  return range ? random.int(...range) : 0;
}

/** How many faults of each kind there are. */
export function countByKind(faults: readonly Fault[]): Record<FaultKind, number> {
  const kinds = Object.keys(FAULT_KINDS) as FaultKind[];
  return Object.fromEntries(
    kinds.map((kind) => [kind, faults.filter((fault) => fault.kind === kind).length]),
  ) as Record<FaultKind, number>;
}

/** A fault in a few words. */
export function describeFault({ number, at, kind, target, lastsMs, messages }: Fault): string {
  const details = [...(lastsMs ? [`${lastsMs} ms`] : []), ...(messages ? [`${messages} messages`] : [])];
  return `fault ${number} at order ${at}: ${[`${kind} ${target}`, ...details].join(", ")}`;
}
