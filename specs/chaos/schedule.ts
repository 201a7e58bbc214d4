/**
 * The schedule of a chaos run: which fault strikes when. Pure; the same seed gives the same schedule.
 *
 * @module
 */
import fc from "fast-check";
import { API, CONSUMERS, RELAY } from "../../workers/dev/processes.ts";

const KINDS = [
  "kill",
  "copy",
  "hold",
  "cut",
  "blip",
  "wipe",
  "restart",
  "duplicate",
  "reverse",
  "malform",
] as const;

export type FaultKind = typeof KINDS[number];

interface KindOfFault {
  readonly what: string;
  /** Whom it can strike: processes, `database`, `broker`, or `events`. */
  readonly targets: readonly string[];
  /** From and to, in milliseconds: long enough to hurt, short enough to leave time for the next one. */
  readonly lastsMs?: readonly [number, number];
  /** How many messages it is about, from and to. */
  readonly messages?: readonly [number, number];
}

const consumers = CONSUMERS.map(({ name }) => name);
const services = ["database", "broker"];

/** The kinds of fault. */
export const FAULT_KINDS: Readonly<Record<FaultKind, KindOfFault>> = {
  kill: {
    what: "SIGKILL of a process, which is started again",
    targets: [API.name, RELAY.name, ...consumers],
  },
  copy: {
    what: "a second copy of a process for a while, then SIGKILL of it",
    targets: [RELAY.name, ...consumers],
    lastsMs: [1000, 3000],
  },
  hold: {
    what: "a consumer is stopped for a while, so that other queues' events come early",
    targets: consumers,
    lastsMs: [300, 1500],
  },
  cut: { what: "nobody reaches a service for a while", targets: services, lastsMs: [200, 1500] },
  blip: { what: "all connections to a service break at once", targets: services },
  wipe: { what: "the broker loses its queues and all that is in them", targets: ["broker"] },
  restart: { what: "the database crashes and comes back", targets: ["database"], lastsMs: [300, 1500] },
  duplicate: { what: "events are published again", targets: ["events"], messages: [20, 200] },
  reverse: {
    what: "events are sent to their consumers once more, the newest first",
    targets: ["events"],
    messages: [20, 200],
  },
  malform: { what: "messages that can never be processed", targets: consumers, messages: [5, 15] },
};

export interface Fault {
  /** Its number in the schedule, from 1. */
  readonly number: number;
  /** It strikes once so many orders have been accepted: an order's number, no time, so the clock has no say. */
  readonly at: number;
  readonly kind: FaultKind;
  readonly target: string;
  /** 0 for what has no length. */
  readonly lastsMs: number;
  /** 0 where it is about none. */
  readonly messages: number;
  /** The seed of what the fault itself chooses. */
  readonly seed: number;
}

export interface SchedulePlan {
  /** Determines everything; its lower 32 bits count. */
  readonly seed: number;
  readonly orders: number;
  readonly faults: number;
}

/** Faults strike between these shares of the orders: there is load before the first and after the last one. */
const [FIRST, LAST] = [0.05, 0.95];

const share = fc.nat(9999).map((n) => n / 10_000);
const chance = fc.record({ at: share, lasts: share, messages: share, seed: fc.nat() });

/**
 * Chooses the faults, in the order in which they strike. Kinds and targets are dealt from shuffled decks, so that every
 * card comes once in as many deals as there are cards: with 12 faults or more every kind is among them, with 36 or more
 * every process is killed.
 */
export function scheduleFaults({ seed, orders, faults }: SchedulePlan): Fault[] {
  const deal = <T>(cards: readonly T[], more: number) => {
    const shuffled = fc.shuffledSubarray([...cards], { minLength: cards.length, maxLength: cards.length });
    return fc.sample(shuffled, { seed: seed + more, numRuns: Math.ceil(faults / cards.length) }).flat()
      .values();
  };
  const kinds = deal(["kill", "kill", ...KINDS] as const, 0); // kills three times: there are the most processes to kill
  const targets = new Map(KINDS.map((kind, i) => [kind, deal(FAULT_KINDS[kind].targets, i)]));
  return fc.sample(chance, { seed, numRuns: faults }).map((chance, i) => {
    const kind = kinds.next().value ?? "kill";
    const { lastsMs: lasts = [0, 0], messages = [0, 0] } = FAULT_KINDS[kind];
    return {
      number: i + 1,
      at: Math.max(1, Math.floor(orders * (FIRST + (LAST - FIRST) * (i + chance.at) / faults))),
      kind,
      target: targets.get(kind)?.next().value ?? "",
      lastsMs: within(lasts, chance.lasts),
      messages: within(messages, chance.messages),
      seed: chance.seed,
    };
  });
}

function within([from, to]: readonly [number, number], share: number): number {
  return from + Math.floor(share * (to - from + 1));
}

/** How many faults of each kind there are, kinds without one included. */
export function countByKind(faults: readonly Fault[]): Record<string, number> {
  return Object.fromEntries(
    KINDS.map((kind) => [kind, faults.filter((fault) => fault.kind === kind).length]),
  );
}

/** A fault in a few words. */
export function describeFault({ number, at, kind, target, lastsMs, messages }: Fault): string {
  const details = [...(lastsMs ? [`${lastsMs} ms`] : []), ...(messages ? [`${messages} messages`] : [])];
  return `fault ${number} at order ${at}: ${[`${kind} ${target}`, ...details].join(", ")}`;
}
