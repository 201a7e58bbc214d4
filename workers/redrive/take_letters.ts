/**
 * Finds the dead letters that are meant, and deals with them batch by batch.
 *
 * @module
 */
import { ApiError } from "../ops_client/ops_api.ts";
import { type LettersApi, PAGE_LETTERS, type ToldLetter } from "./letters_api.ts";
import type { RedriveOptions } from "./redrive_flags.ts";

/** Letters that one run takes at most; more are for the next one. */
const MAX_TAKEN = 10_000;

/** The letters that are meant. */
export interface FoundLetters {
  /** The letters, oldest first: what happened first is processed first. */
  readonly letters: readonly ToldLetter[];
  /** Whether there are more than one run takes. */
  readonly more: boolean;
}

/**
 * Finds the open letters that are meant.
 *
 * Errors: as the API's; for an id, also where that letter is closed.
 */
export async function findLetters(api: LettersApi, which: RedriveOptions["which"]): Promise<FoundLetters> {
  if ("ids" in which) return { letters: await byIds(api, which.ids), more: false };
  const letters: ToldLetter[] = [];
  let cursor: string | null = null;
  do {
    const page = await api.list(which.filter, cursor);
    letters.push(...page.deadLetters);
    cursor = page.nextCursor;
  } while (cursor !== null && letters.length < MAX_TAKEN);
  return { letters: letters.reverse(), more: cursor !== null };
}

async function byIds(api: LettersApi, ids: readonly string[]): Promise<ToldLetter[]> {
  const letters: ToldLetter[] = [];
  for (const id of new Set(ids)) {
    const letter = await api.find(id).catch((error) => {
      throw error instanceof ApiError ? new ApiError(error.status, `${id}: ${error.message}`) : error;
    });
    if (letter.state !== "OPEN") {
      throw new ApiError(null, `${id} is closed: ${letter.state}, ${letter.resolution}. Nothing was done.`);
    }
    letters.push(letter);
  }
  return letters.sort((a, b) => a.id < b.id ? -1 : 1);
}

/** What came of dealing with letters. */
export interface Outcome {
  /** Letters that are on their way to their consumer again. */
  readonly redriven: number;
  /** Letters whose event their consumer had processed meanwhile: closed without being sent. */
  readonly alreadyProcessed: number;
  /** Letters that were closed unprocessed. */
  readonly discarded: number;
  /** Letters that somebody else had dealt with, or was dealing with, in the same moment. */
  readonly gone: number;
  /** Letters that the broker did not take; they stay open. */
  readonly refused: readonly { readonly id: string; readonly error: string }[];
  /** Letters that were not reached, because it was cancelled. */
  readonly untouched: number;
}

/** How letters are dealt with. */
export interface Dealing {
  /** Why they are discarded; null where they are redriven. */
  readonly because: string | null;
  /** Told after each batch how many letters have been dealt with. */
  readonly onProgress: (letters: number) => void;
  /** Aborted to end it after the batch in hand. */
  readonly stop: AbortSignal;
}

/**
 * Redrives or discards the letters, as many at once as the API takes.
 *
 * Errors: `ApiError`, which says how far it got.
 */
export async function dealWith(
  api: LettersApi,
  letters: readonly ToldLetter[],
  { because, onProgress, stop }: Dealing,
): Promise<Outcome> {
  let sum: Outcome = { redriven: 0, alreadyProcessed: 0, discarded: 0, gone: 0, refused: [], untouched: 0 };
  for (let at = 0; at < letters.length; at += PAGE_LETTERS) {
    if (stop.aborted) return { ...sum, untouched: letters.length - at };
    const ids = letters.slice(at, at + PAGE_LETTERS).map(({ id }) => id);
    try {
      sum = added(
        sum,
        ids.length,
        because === null ? await api.redrive(ids) : await api.discard(ids, because),
      );
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      throw new ApiError(error.status, `After ${at} of ${letters.length} dead letters: ${error.message}`);
    }
    onProgress(at + ids.length);
  }
  return sum;
}

function added(
  sum: Outcome,
  asked: number,
  told: Awaited<ReturnType<LettersApi["redrive"]>> | number,
): Outcome {
  const { redriven, alreadyProcessed, refused } = typeof told === "number"
    ? { redriven: 0, alreadyProcessed: 0, refused: [] }
    : told;
  const discarded = typeof told === "number" ? told : 0;
  return {
    redriven: sum.redriven + redriven,
    alreadyProcessed: sum.alreadyProcessed + alreadyProcessed,
    discarded: sum.discarded + discarded,
    gone: sum.gone + asked - redriven - alreadyProcessed - refused.length - discarded,
    refused: [...sum.refused, ...refused],
    untouched: 0,
  };
}
