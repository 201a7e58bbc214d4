/**
 * The API's routes of dead letters, as the command line uses them.
 *
 * @module
 */
import * as z from "zod/mini";
import {
  type DeadLetterJson,
  deadLetterSchema,
  type DeadLettersPage,
  deadLettersPageSchema,
  discardedSchema,
  type RedrivenJson,
  redrivenSchema,
} from "../../shared/answers/letter_shapes.ts";
import type { AskOps } from "../ops_client/ops_api.ts";

/** A dead letter, as far as the command line tells of it. */
export type ToldLetter = Pick<
  DeadLetterJson,
  "id" | "consumer" | "eventType" | "orderId" | "reason" | "lastFailedAt" | "state" | "resolution"
>;

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
export interface LetterPage extends Pick<DeadLettersPage, "nextCursor"> {
  /** The letters. */
  readonly deadLetters: readonly ToldLetter[];
}

/** Letters in a page, and ids in one request: the most that the API takes. */
export const PAGE_LETTERS = 100;

const { id, consumer, eventType, orderId, reason, lastFailedAt, state, resolution } = deadLetterSchema.shape;
const letter = z.object({ id, consumer, eventType, orderId, reason, lastFailedAt, state, resolution });
const page = z.extend(deadLettersPageSchema, { deadLetters: z.array(letter) });

/** The routes. Each rejects as {@linkcode AskOps} does. */
export interface LettersApi {
  /** A page of open letters; `cursor` is the `nextCursor` of the one before. */
  list(filter: LetterFilter, cursor: string | null): Promise<LetterPage>;
  /** One letter, whatever its state. */
  find(id: string): Promise<ToldLetter>;
  /** Sends up to {@linkcode PAGE_LETTERS} open letters to their consumers again. */
  redrive(ids: readonly string[]): Promise<RedrivenJson>;
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
    redrive: (ids) => ask(redrivenSchema, "POST", `${root}/redrive`, { ids }),
    discard: async (ids, because) =>
      (await ask(discardedSchema, "POST", `${root}/discard`, { ids, because })).discarded,
  };
}
