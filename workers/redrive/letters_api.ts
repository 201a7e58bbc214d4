/**
 * The API's routes of dead letters, as the command line uses them.
 *
 * @module
 */
import { z } from "zod";
import type { AskOps } from "../ops_client/ops_api.ts";

/** A dead letter, as the API tells of it. */
export interface ToldLetter {
  /** The letter's id. */
  readonly id: string;
  /** Who gave up on it. */
  readonly consumer: string;
  /** The event's type; null where the body is no valid event, and so for the next. */
  readonly eventType: string | null;
  /** The order that the event is about. */
  readonly orderId: string | null;
  /** Why, in a few fixed words. */
  readonly reason: string;
  /** When it was last given up on; ISO 8601. */
  readonly lastFailedAt: string;
  /** `OPEN` until somebody deals with it. */
  readonly state: string;
  /** What became of it; null while it is open. */
  readonly resolution: string | null;
}

/** Which open letters: those that match all that is given. Times are ISO 8601 with an offset. */
export interface LetterFilter {
  /** Only letters of this consumer. */
  readonly consumer?: string | undefined;
  /** Only letters with this reason. */
  readonly reason?: string | undefined;
  /** Only letters with an event of this type. */
  readonly type?: string | undefined;
  /** Only letters about this order. */
  readonly orderId?: string | undefined;
  /** Only letters that were last given up on at this time or later. */
  readonly from?: string | undefined;
  /** Only letters that were last given up on before this time. */
  readonly to?: string | undefined;
}

/** A page of letters, newest first. */
export interface LetterPage {
  /** The letters. */
  readonly deadLetters: readonly ToldLetter[];
  /** Where the next page begins; null behind the last. */
  readonly nextCursor: string | null;
}

/** What a redrive came to. */
export interface ToldRedrive {
  /** Letters that are on their way to their consumer again. */
  readonly redriven: number;
  /** Letters whose event their consumer had processed meanwhile: closed without being sent. */
  readonly alreadyProcessed: number;
  /** Letters that the broker did not take; they stay open. */
  readonly refused: readonly { readonly id: string; readonly error: string }[];
}

/** Letters in a page, and ids in one request: the most that the API takes. */
export const PAGE_LETTERS = 100;

const letter = z.object({
  id: z.string(),
  consumer: z.string(),
  eventType: z.string().nullable(),
  orderId: z.string().nullable(),
  reason: z.string(),
  lastFailedAt: z.string(),
  state: z.string(),
  resolution: z.string().nullable(),
});
const page = z.object({ deadLetters: z.array(letter), nextCursor: z.string().nullable() });
const redriven = z.object({
  redriven: z.int(),
  alreadyProcessed: z.int(),
  refused: z.array(z.object({ id: z.string(), error: z.string() })),
});
const discarded = z.object({ discarded: z.int() });

/** The routes. Each rejects as {@linkcode AskOps} does. */
export interface LettersApi {
  /** A page of open letters; `cursor` is the `nextCursor` of the one before. */
  list(filter: LetterFilter, cursor: string | null): Promise<LetterPage>;
  /** One letter, whatever its state. */
  find(id: string): Promise<ToldLetter>;
  /** Sends up to {@linkcode PAGE_LETTERS} open letters to their consumers again. */
  redrive(ids: readonly string[]): Promise<ToldRedrive>;
  /** Closes up to {@linkcode PAGE_LETTERS} open letters; answers with how many were. */
  discard(ids: readonly string[], because: string): Promise<number>;
}

/** The routes, asked for through `ask`. */
export function lettersApi(ask: AskOps): LettersApi {
  const root = "/ops/dead-letters";
  return {
    list(filter, cursor) {
      const given = { ...filter, cursor, state: "OPEN", limit: String(PAGE_LETTERS) };
      const query = Object.entries(given).flatMap(([name, value]) => value ? [[name, value]] : []);
      return ask(page, "GET", `${root}?${new URLSearchParams(query)}`);
    },
    find: (id) => ask(letter, "GET", `${root}/${id}`),
    redrive: (ids) => ask(redriven, "POST", `${root}/redrive`, { ids }),
    discard: async (ids, because) =>
      (await ask(discarded, "POST", `${root}/discard`, { ids, because })).discarded,
  };
}
