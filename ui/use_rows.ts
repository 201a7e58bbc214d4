/**
 * A paged list that stays fresh: loaded page by page, and anew when a pulse says that something may have changed.
 *
 * @module
 */
import { useEffect, useRef, useState } from "preact/hooks";
import { problemOf } from "./api_client.ts";

/** One page of a list. */
export interface RowsPage<T> {
  /** Its rows. */
  readonly rows: readonly T[];
  /** Where the next page begins; null where this is the last one. */
  readonly nextCursor: string | null;
}

/** When a list is loaded anew. */
export interface Freshness {
  /** The time of the current pulse; a new one is a reason to load. */
  readonly pulseAt: string | undefined;
  /** Whether nothing comes from the server at the moment, or nothing is wanted. */
  readonly isStale: boolean;
  /** Whether the rows have to stay as they are: somebody reads one, or is asked about it. */
  readonly isHeld: boolean;
}

/** A list as it stands. */
export interface Rows<T> {
  /** The page that is shown; null before the first answer. */
  readonly page: RowsPage<T> | null;
  /** Why the last attempt failed; null where it did not. What was loaded before stays. */
  readonly problem: string | null;
  /** Whether the page that is wanted is not there yet. */
  readonly isLoading: boolean;
  /** Which page it is, from 1. */
  readonly pageNumber: number;
  /** Goes to the next page, of older rows. */
  older(): void;
  /** Goes back to the page before. */
  newer(): void;
  /** Loads the page again. */
  refresh(): void;
}

/** Between two loads of the same page at least, in milliseconds. */
const MIN_INTERVAL_MS = 1000;

/** Loads a list; a new `key`, which stands for the filter, begins on its first page. */
export function useRows<T>(
  load: (cursor: string | null) => Promise<RowsPage<T>>,
  key: string,
  { pulseAt, isStale, isHeld }: Freshness,
): Rows<T> {
  const [place, setPlace] = useState<{ key: string; cursors: readonly (string | null)[] }>({
    key,
    cursors: [null],
  });
  const [shown, setShown] = useState<{ key: string; at: string; page: RowsPage<T> } | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const attempt = useRef({ number: 0, isBusy: false, endedAt: 0 });
  const cursors = place.key === key ? place.cursors : [null];
  const cursor = cursors.at(-1) ?? null;
  const at = JSON.stringify([key, cursor]);

  async function refresh(): Promise<void> {
    const mine = ++attempt.current.number;
    attempt.current.isBusy = true;
    let outcome: { page: RowsPage<T> } | { problem: string };
    try {
      outcome = { page: await load(cursor) };
    } catch (error) {
      outcome = { problem: problemOf(error) };
    }
    if (mine !== attempt.current.number) return; // something else is wanted by now
    attempt.current.isBusy = false;
    attempt.current.endedAt = Date.now();
    if ("page" in outcome) setShown({ key, at, page: outcome.page });
    setProblem("page" in outcome ? null : outcome.problem);
  }

  useEffect(() => {
    void refresh();
    return () => {
      attempt.current.number++;
    };
  }, [at]);

  useEffect(() => {
    if (pulseAt === undefined || isStale || isHeld || attempt.current.isBusy || document.hidden) return;
    const wait = attempt.current.endedAt + MIN_INTERVAL_MS - Date.now();
    if (wait <= 0) return void refresh();
    const timer = setTimeout(refresh, wait);
    return () => clearTimeout(timer);
  }, [pulseAt, isStale, isHeld]);

  return {
    // Rows of another filter may stay for the moment until the answer, but not beside a problem.
    page: shown && (shown.key === key || problem === null) ? shown.page : null,
    problem,
    isLoading: shown?.at !== at && problem === null,
    pageNumber: cursors.length,
    older: () => {
      const next = shown?.at === at ? shown.page.nextCursor : null;
      if (next !== null) setPlace({ key, cursors: [...cursors, next] });
    },
    newer: () => setPlace({ key, cursors: cursors.length > 1 ? cursors.slice(0, -1) : [null] }),
    refresh: () => void refresh(),
  };
}

/** The value once it has stayed the same for a moment: what is typed is not asked for letter by letter. */
export function useSettled(value: string, waitMs = 300): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), waitMs);
    return () => clearTimeout(timer);
  }, [value, waitMs]);
  return settled;
}
