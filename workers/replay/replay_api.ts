/**
 * The API's routes of replays, as the command line uses them.
 *
 * @module
 */
import { z } from "zod";
import { REPLAY_STATES, type ReplayFilter, type ReplayState } from "../../shared/replay.ts";
import type { AskOps } from "../ops_client/ops_api.ts";

/** A replay, as the API tells of it; what else it tells is kept. */
export interface ToldReplay {
  /** The replay's id. */
  readonly id: string;
  /** `PREPARED` until it is started, then `RUNNING` until it has ended. */
  readonly state: ReplayState;
  /** Messages in the set. */
  readonly total: number;
  /** How many of them their consumer had processed when the set was written down. */
  readonly alreadyProcessed: number;
  /** How many have been dealt with. */
  readonly sent: number;
  /** How many of those were skipped. */
  readonly skipped: number;
  /** What the last failed try met with; null where none has failed. */
  readonly lastError: string | null;
  /** Why it was cancelled; null unless it was. */
  readonly reason: string | null;
}

/** A message of the set, as the API tells of it. */
export interface ToldMessage {
  /** The event's id. */
  readonly eventId: string;
  /** Who gets it. */
  readonly consumer: string;
  /** The event's type; null where the event has been pruned, and so for the next two. */
  readonly type: string | null;
  /** The order that the event is about. */
  readonly orderId: string | null;
  /** When the event happened. */
  readonly occurredAt: string | null;
}

/** A page of the set. */
export interface ToldSet {
  /** The first messages, in the order of sending. */
  readonly events: readonly ToldMessage[];
}

const replay = z.looseObject({
  id: z.string(),
  state: z.enum(REPLAY_STATES),
  total: z.int(),
  alreadyProcessed: z.int(),
  sent: z.int(),
  skipped: z.int(),
  lastError: z.string().nullable(),
  reason: z.string().nullable(),
});
const set = z.looseObject({
  events: z.array(z.looseObject({
    eventId: z.string(),
    consumer: z.string(),
    type: z.string().nullable(),
    orderId: z.string().nullable(),
    occurredAt: z.string().nullable(),
  })),
});

/** The routes. Each rejects as {@linkcode AskOps} does. */
export interface ReplayApi {
  /** Writes a set down. */
  prepare(filter: ReplayFilter): Promise<ToldReplay & ToldSet>;
  /** A replay as it stands. */
  find(id: string): Promise<ToldReplay>;
  /** The first messages of a replay's set. */
  firstMessages(id: string): Promise<ToldSet>;
  /** Starts a replay. */
  start(id: string, ratePerSecond: number): Promise<ToldReplay>;
  /** Cancels a replay. */
  cancel(id: string): Promise<ToldReplay>;
}

/** How long the API may take to answer, in milliseconds: a set may take a minute to write down. */
export const REPLAY_ANSWER_MS = 75_000;

/** The routes, asked for through `ask`. */
export function replayApi(ask: AskOps): ReplayApi {
  const root = "/ops/replays";
  return {
    prepare: (filter) => ask(replay.extend(set.shape), "POST", root, filter),
    find: (id) => ask(replay, "GET", `${root}/${id}`),
    firstMessages: (id) => ask(set, "GET", `${root}/${id}/events`),
    start: (id, ratePerSecond) => ask(replay, "POST", `${root}/${id}/start`, { ratePerSecond }),
    cancel: (id) => ask(replay, "POST", `${root}/${id}/cancel`),
  };
}
