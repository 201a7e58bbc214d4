// The schedule of a run, which the seed determines, and the faults' striking by it.

import { setTimeout as delay } from "node:timers/promises";
import fc from "fast-check";
import { messageOf } from "../../shared/process/errors.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import { FAULT_KINDS, type FaultKind, type FaultRecord, type KindOfFault } from "./faults.ts";
import type { ChaosSystem } from "./system.ts";

export interface Fault {
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

const KINDS = Object.keys(FAULT_KINDS) as FaultKind[];
/** Faults strike between these shares of the orders: there is load before the first and after the last one. */
const [FIRST, LAST] = [0.05, 0.95];
const share = fc.nat(9999).map((n) => n / 10_000);
const chance = fc.record({ at: share, lasts: share, messages: share, seed: fc.nat() });

/**
 * Chooses the faults, in the order in which they strike. Kinds and targets are dealt from shuffled decks, so that every
 * card comes once in as many deals as there are cards: with 18 faults or more every kind is among them, with 54 or more
 * every process is killed. The lower 32 bits of `seed` determine everything. Pure.
 */
export function scheduleFaults(
  { seed, orders, faults }: { readonly seed: number; readonly orders: number; readonly faults: number },
): Fault[] {
  const deal = <T>(cards: readonly T[], more: number) => {
    const shuffled = fc.shuffledSubarray([...cards], { minLength: cards.length, maxLength: cards.length });
    return fc.sample(shuffled, { seed: seed + more, numRuns: Math.ceil(faults / cards.length) }).flat()
      .values();
  };
  const within = ([from, to]: readonly [number, number], share: number) =>
    from + Math.floor(share * (to - from + 1));
  const kinds = deal(["kill", "kill", ...KINDS] as const, 0); // kills three times: there are the most processes to kill
  const targets = new Map(KINDS.map((kind, i) => [kind, deal(FAULT_KINDS[kind].targets, i)]));
  return fc.sample(chance, { seed, numRuns: faults }).map((chance, i) => {
    const kind = kinds.next().value ?? "kill";
    const { lastsMs: lasts = [0, 0], messages = [0, 0] }: KindOfFault = FAULT_KINDS[kind];
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

/** How many faults of each kind there are, kinds without one included. */
export const countByKind = (faults: readonly Fault[]): Record<string, number> =>
  Object.fromEntries(KINDS.map((kind) => [kind, faults.filter((fault) => fault.kind === kind).length]));

/** A fault in a few words. */
export function describeFault({ number, at, kind, target, lastsMs, messages }: Fault): string {
  const details = [...(lastsMs ? [`${lastsMs} ms`] : []), ...(messages ? [`${messages} messages`] : [])];
  return `fault ${number} at order ${at}: ${[`${kind} ${target}`, ...details].join(", ")}`;
}

/** With so many faults under way the load waits: else it would be over before the last fault strikes. */
const MAX_AT_ONCE = 4;
const GATE_POLL_MS = 10;
/** How long faults may last beyond the last order; what they wait for is bounded, so this is for what nobody foresaw. */
const OVER_MS = 120_000;

/**
 * Lets faults strike in the order of the schedule. They may overlap, but for those that touch the same thing. `say` is told
 * of each.
 */
export function createStrikes(
  faults: readonly Fault[],
  system: ChaosSystem,
  record: FaultRecord,
  say: (line: string) => void,
) {
  const turns = new Map<string, Promise<void>>();
  const failures: Error[] = [];
  const underWay = new Set<Fault>();
  let struck = 0;

  async function strike(fault: Fault, turn: Promise<void>): Promise<void> {
    await turn;
    say(describeFault(fault));
    try {
      await FAULT_KINDS[fault.kind].inject(fault, system, record);
    } catch (cause) {
      failures.push(new Error(`Cannot inject ${describeFault(fault)}: ${messageOf(cause)}`, { cause }));
    }
    underWay.delete(fault);
  }

  return {
    onAccepted(count: number): void {
      for (let fault = faults[struck]; fault && fault.at <= count; fault = faults[struck]) {
        struck++;
        underWay.add(fault);
        const resource = resourceOf(fault);
        turns.set(resource, strike(fault, turns.get(resource) ?? Promise.resolve()));
      }
    },
    /** Resolves once fewer faults are under way than may be at once. */
    async gate(): Promise<void> {
      while (underWay.size >= MAX_AT_ONCE) await delay(GATE_POLL_MS);
    },
    /** Resolves when all faults that struck are over; rejects when one could not be injected, or is not over in time. */
    async over(): Promise<void> {
      await withTimeout(OVER_MS, Promise.all(turns.values()));
      for (const fault of underWay) failures.push(new Error(`Not over in time: ${describeFault(fault)}`));
      if (failures.length === 0) return;
      throw new AggregateError(failures, failures.map(({ message }) => message).join("; "));
    },
    struck: () => struck,
  };
}

/** What no two faults may touch at once; others may strike at the same time. */
function resourceOf({ kind, target }: Fault): string {
  return kind === "copy" || kind === "malform" || kind === "large" ? `${kind} ${target}` : target;
}
