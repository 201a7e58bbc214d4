/**
 * The API as the page asks it: one function per route, every answer checked, every failure an `ApiError` in words.
 *
 * @module
 */
import * as z from "zod/mini";
import * as shapes from "../shared/ops/answers.ts";
import * as letters from "../shared/ops/answers.ts";
import * as ops from "../shared/ops/answers.ts";
import { problemSchema } from "../shared/ops/answers.ts";
import type {
  DeadLettersQuery,
  FaultRequest,
  InboxQuery,
  LetterSelection,
  OrdersQuery,
  OutboxQuery,
  PageQuery,
  ReplayQuery,
} from "./api_queries.ts";

/** Why a request came to nothing, in words that can stand on the page. */
export class ApiError extends Error {
  /** The error's name, as logs show it. */
  override name = "ApiError";
  /** The status code of the answer; null where there was none. */
  readonly status: number | null;
  /** The kind of problem in a few words, such as `Conflict`. */
  readonly title: string;

  /** A problem with its status code, its title, and a detail that becomes the message. */
  constructor(status: number | null, title: string, detail: string) {
    super(detail);
    this.status = status;
    this.title = title;
  }
}

/** What an error says, for people. */
export function problemOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The routes. Each rejects with an `ApiError`. */
export interface ApiClient {
  /** A page of orders, newest first. */
  listOrders(query?: OrdersQuery): Promise<shapes.OrdersPage>;
  /** An order and what happened to it. */
  readStory(orderId: string): Promise<shapes.OrderStoryJson>;
  /** One event of the outbox. */
  readEvent(eventId: string): Promise<shapes.OutboxEventJson>;
  /** The scenarios on offer. */
  listScenarios(): Promise<shapes.ScenarioInfo[]>;
  /** Plays a scenario; answers with its new order. */
  playScenario(name: string): Promise<shapes.OrderJson>;
  /** Has an event published once more. */
  republish(eventId: string): Promise<shapes.RepublishedJson>;
  /** A page of the outbox, newest first. */
  listOutbox(query?: OutboxQuery): Promise<shapes.OutboxPage>;
  /** A page of the inbox, newest first. */
  listInbox(query?: InboxQuery): Promise<shapes.InboxPage>;
  /** A page of dead letters, newest first. */
  listDeadLetters(query?: DeadLettersQuery): Promise<letters.DeadLettersPage>;
  /** Sends one letter to its consumer again. */
  redriveLetter(id: string): Promise<letters.RedrivenJson>;
  /** Discards one letter for a reason; answers with how many that closed. */
  discardLetter(id: string, because: string): Promise<number>;
  /** Sends all open letters that match to their consumers again. */
  redriveLetters(selection: LetterSelection): Promise<letters.RedrivenJson>;
  /** Discards all open letters that match, for a reason; answers with how many. */
  discardLetters(selection: LetterSelection, because: string): Promise<number>;
  /** Writes down what a replay would send; sends nothing. */
  prepareReplay(query: ReplayQuery): Promise<ops.PreparedReplay>;
  /** The newest replays. */
  listReplays(query?: PageQuery): Promise<ops.ReplaysPage>;
  /** A replay as it stands. */
  readReplay(id: string): Promise<ops.ReplayJson>;
  /** A page of a replay's messages. */
  listReplayEvents(id: string, cursor?: string | null): Promise<ops.ReplayEventsPage>;
  /** Starts a replay, at so many messages per second. */
  startReplay(id: string, ratePerSecond: number): Promise<ops.ReplayJson>;
  /** Ends a replay. */
  cancelReplay(id: string): Promise<ops.ReplayJson>;
  /** What is armed and what can be; rejects with status 404 where faults are off. */
  listFaults(): Promise<ops.FaultsJson>;
  /** Arms these faults in the place of all there are. */
  putFaults(faults: readonly FaultRequest[]): Promise<ops.ArmedFaultJson[]>;
  /** Has the whole database audited; what is younger than the grace is not missed. */
  readAudit(graceSeconds?: number): Promise<ops.AuditJson>;
}

/** How long an answer may take, in milliseconds. */
const ANSWER_TIMEOUT_MS = 15_000;
/** The same for what reads whole tables: a dry run and the audit. */
const LONG_TIMEOUT_MS = 120_000;

interface Ask {
  readonly method?: "GET" | "POST" | "PUT";
  readonly body?: object;
  readonly timeoutMs?: number;
}

/** The routes of the server that the page came from. `fetcher` is the browser's `fetch`, or a stand-in. */
export function createApiClient(fetcher: typeof fetch): ApiClient {
  async function ask<S extends z.ZodMiniType>(
    schema: S,
    path: string,
    options: Ask = {},
  ): Promise<z.output<S>> {
    const { status, ok, json } = await answer(fetcher, path, options);
    if (!ok) throw refusal(status, json);
    const parsed = z.safeParse(schema, json);
    if (parsed.success) return parsed.data;
    const where = parsed.error.issues[0]?.path.join(".") ?? "";
    const detail = `${path} gave an answer that this page cannot read${
      where ? `, at ${where}` : ""
    }. Reload the page.`;
    throw new ApiError(status, "Unexpected answer", detail);
  }
  const post = (body?: object): Ask => ({ method: "POST", ...(body ? { body } : {}) });
  const id = encodeURIComponent;

  return {
    listOrders: (query = {}) => ask(shapes.ordersPageSchema, `/ops/orders${queryOf(query)}`),
    readStory: (orderId) => ask(shapes.orderStorySchema, `/ops/orders/${id(orderId)}/timeline`),
    readEvent: (eventId) => ask(shapes.outboxEventSchema, `/ops/outbox/${id(eventId)}`),
    listScenarios: async () => (await ask(shapes.scenariosSchema, "/ops/scenarios")).scenarios,
    playScenario: (name) => ask(shapes.orderSchema, `/ops/scenarios/${id(name)}`, post()),
    republish: (eventId) => ask(shapes.republishedSchema, `/ops/outbox/${id(eventId)}/republish`, post()),
    listOutbox: (query = {}) => ask(shapes.outboxPageSchema, `/ops/outbox${queryOf(query)}`),
    listInbox: (query = {}) => ask(shapes.inboxPageSchema, `/ops/processed-events${queryOf(query)}`),
    listDeadLetters: (query = {}) => ask(letters.deadLettersPageSchema, `/ops/dead-letters${queryOf(query)}`),
    redriveLetter: (letter) => ask(letters.redrivenSchema, `/ops/dead-letters/${id(letter)}/redrive`, post()),
    discardLetter: async (letter, because) =>
      (await ask(letters.discardedSchema, `/ops/dead-letters/${id(letter)}/discard`, post({ because })))
        .discarded,
    redriveLetters: (selection) =>
      ask(letters.redrivenSchema, "/ops/dead-letters/redrive", post(given(selection))),
    discardLetters: async (selection, because) => {
      const body = { ...given(selection), because };
      return (await ask(letters.discardedSchema, "/ops/dead-letters/discard", post(body))).discarded;
    },
    prepareReplay: (query) =>
      ask(ops.preparedReplaySchema, "/ops/replays", { ...post(given(query)), timeoutMs: LONG_TIMEOUT_MS }),
    listReplays: (query = {}) => ask(ops.replaysPageSchema, `/ops/replays${queryOf(query)}`),
    readReplay: (replay) => ask(ops.replaySchema, `/ops/replays/${id(replay)}`),
    listReplayEvents: (replay, cursor) =>
      ask(ops.replayEventsPageSchema, `/ops/replays/${id(replay)}/events${queryOf({ cursor })}`),
    startReplay: (replay, ratePerSecond) =>
      ask(ops.replaySchema, `/ops/replays/${id(replay)}/start`, post({ ratePerSecond })),
    cancelReplay: (replay) => ask(ops.replaySchema, `/ops/replays/${id(replay)}/cancel`, post()),
    listFaults: () => ask(ops.faultsSchema, "/ops/faults"),
    putFaults: async (faults) =>
      (await ask(ops.armedSchema, "/ops/faults", { method: "PUT", body: { faults } })).armed,
    readAudit: (graceSeconds) =>
      ask(ops.auditSchema, `/ops/audit${queryOf({ graceSeconds })}`, { timeoutMs: LONG_TIMEOUT_MS }),
  };
}

async function answer(fetcher: typeof fetch, path: string, { method = "GET", body, timeoutMs }: Ask) {
  try {
    const response = await fetcher(path, {
      method,
      headers: { accept: "application/json", ...(body ? { "content-type": "application/json" } : {}) },
      signal: AbortSignal.timeout(timeoutMs ?? ANSWER_TIMEOUT_MS),
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    return { status: response.status, ok: response.ok, json: parsedJson(await response.text()) };
  } catch {
    const detail = `${method} ${path} got no answer: the server is away, or busy. Try again in a moment.`;
    throw new ApiError(null, "No answer", detail);
  }
}

function parsedJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined; // which no schema takes
  }
}

function refusal(status: number, json: unknown): ApiError {
  const problem = z.safeParse(problemSchema, json).data;
  const fields = problem?.errors?.map(({ field, detail }) => `${field} ${detail}`.trim()).join("; ");
  const detail = [problem?.detail ?? `The server answered ${status} without saying why.`, fields].filter(
    Boolean,
  );
  return new ApiError(status, problem?.title ?? `Status ${status}`, detail.join(" "));
}

/** What a form leaves empty is not asked for. */
function given<T extends object>(fields: T): object {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== ""),
  );
}

function queryOf(fields: object): string {
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(([name, value]): [string, string] => [name, String(value)]);
  return pairs.length > 0 ? `?${new URLSearchParams(pairs)}` : "";
}
