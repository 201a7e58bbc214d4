/**
 * The API's routes of replays, as the command line uses them.
 *
 * @module
 */
import { z } from "zod";
import { messageOf } from "../../shared/errors.ts";
import { REPLAY_STATES, type ReplayFilter, type ReplayState } from "../../shared/replay.ts";
import type { Schema } from "../../shared/schema.ts";

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
const problem = z.object({
  detail: z.string(),
  errors: z.array(z.object({ field: z.string(), detail: z.string() })).default([]),
});

/** The API refused a request, or could not be asked; the message says why and what to do. */
export class ApiError extends Error {
  /** The error's name, as logs show it. */
  override name = "ApiError";
  /** The status code of its answer; null where there was none. */
  readonly status: number | null;

  /** An error with the status code that it came with. */
  constructor(status: number | null, message: string) {
    super(message);
    this.status = status;
  }
}

/** The routes. Each rejects with an `ApiError`. */
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
const ANSWER_TIMEOUT_MS = 75_000;

/** The routes of the API at `url`; `token` is the one for `/ops`. */
export function replayApi(url: string, token: string | undefined): ReplayApi {
  async function ask<T>(schema: Schema<T>, method: "GET" | "POST", path: string, body?: object): Promise<T> {
    const { status, ok, text } = await answerOf(method, `${url}/ops/replays${path}`, body);
    const json = parsed(text);
    if (!ok) throw new ApiError(status, refusal(status, json));
    const answer = schema.safeParse(json);
    if (answer.success) return answer.data;
    throw new ApiError(
      status,
      `${method} /ops/replays${path} gave no such answer as expected: is ${url} OrderFlow?`,
    );
  }

  async function answerOf(method: string, target: string, body: object | undefined) {
    try {
      const response = await fetch(target, {
        method,
        headers: {
          ...(body ? { "content-type": "application/json" } : {}),
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
      return { status: response.status, ok: response.ok, text: await response.text() };
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) {
        throw new ApiError(
          null,
          `The task reaches this machine alone, not ${url}: see "replay" in deno.json.`,
        );
      }
      throw new ApiError(null, `Cannot reach the API at ${url}: ${messageOf(error)}. Is it running?`);
    }
  }

  return {
    prepare: (filter) => ask(replay.extend(set.shape), "POST", "", filter),
    find: (id) => ask(replay, "GET", `/${id}`),
    firstMessages: (id) => ask(set, "GET", `/${id}/events`),
    start: (id, ratePerSecond) => ask(replay, "POST", `/${id}/start`, { ratePerSecond }),
    cancel: (id) => ask(replay, "POST", `/${id}/cancel`),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // which is no answer either
  }
}

function refusal(status: number, json: unknown): string {
  const told = problem.safeParse(json).data;
  if (!told) return `The API answered ${status} without saying why.`;
  const fields = told.errors.map(({ field, detail }) => `${field} ${detail}`.trim());
  return [told.detail, ...fields].join("\n  ");
}
