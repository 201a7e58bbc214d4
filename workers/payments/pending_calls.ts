/**
 * Calls to the provider that outlive the batch that began them, so that one slow answer holds up nobody else's.
 *
 * @module
 */
import pLimit from "p-limit";
import { pause } from "../../shared/stop.ts";
import type { Answered } from "./payment_provider.ts";

/** Calls under way, and answers that nobody has used yet. */
export interface PendingCalls<T> {
  /**
   * Makes each of `calls` unless one with its key is under way or has its answer already; resolves with the answers that
   * are there after a moment, at once when all are. The other calls go on: ask again.
   *
   * Errors: what a call rejected with.
   */
  answers(calls: ReadonlyMap<string, () => Promise<Answered<T>>>): Promise<Map<string, Answered<T>>>;
  /** Forgets answers that have been used: the next call with that key is a new one. */
  forget(keys: Iterable<string>): void;
}

/** How calls are made. */
export interface PendingCallsOptions {
  /** The most calls at once; the others wait for their turn. */
  readonly concurrency: number;
  /** Aborted, nothing is waited for any more: what has no answer by then goes back to the queue. */
  readonly stop: AbortSignal;
}

/** How long a batch waits for answers, in milliseconds: most are there by then, and are recorded together. */
const BATCH_WAIT_MS = 100;
/** An answer that nobody asks for any more, because its message went to another worker, is kept so long. */
const UNUSED_MS = 60_000;

interface Call<T> {
  readonly done: Promise<void>;
  result: PromiseSettledResult<Answered<T>> | null;
  settledAtMs: number;
}

/** Makes an empty register of calls. */
export function createPendingCalls<T>({ concurrency, stop }: PendingCallsOptions): PendingCalls<T> {
  const limit = pLimit(concurrency);
  const register = new Map<string, Call<T>>();

  function start(make: () => Promise<Answered<T>>): Call<T> {
    const settle = (result: PromiseSettledResult<Answered<T>>) => {
      if (stop.aborted) return; // its time-out was cut short
      call.result = result;
      call.settledAtMs = performance.now();
    };
    const call: Call<T> = {
      done: limit(make).then(
        (value) => settle({ status: "fulfilled", value }),
        (reason) => settle({ status: "rejected", reason }),
      ),
      result: null,
      settledAtMs: Infinity,
    };
    return call;
  }

  function dropUnused(): void {
    const before = performance.now() - UNUSED_MS;
    for (const [key, { settledAtMs }] of register) if (settledAtMs < before) register.delete(key);
  }

  return {
    async answers(calls) {
      dropUnused();
      for (const [key, make] of calls) if (!register.has(key)) register.set(key, start(make));
      const asked = [...calls.keys()].flatMap((key) => {
        const call = register.get(key);
        return call ? [{ key, call }] : [];
      });
      const enough = new AbortController();
      await Promise.race([
        Promise.all(asked.map(({ call }) => call.done)),
        pause(BATCH_WAIT_MS, AbortSignal.any([stop, enough.signal])),
      ]);
      enough.abort();
      const found = new Map<string, Answered<T>>();
      for (const { key, call: { result } } of asked) {
        if (result?.status === "rejected") {
          register.delete(key);
          throw result.reason;
        }
        if (result) found.set(key, result.value);
      }
      return found;
    },
    forget(keys) {
      for (const key of keys) register.delete(key);
    },
  };
}
