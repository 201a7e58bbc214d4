// The API as the page asks it: one function per route, every failure an `ApiError` in words.

import type * as answers from "../shared/ops/answers.ts";
import type { Beat } from "../shared/ops/story.ts";

/** Why a request came to nothing, in words that can stand on the page; the status is null where there was no answer. */
export class ApiError extends Error {
  override name = "ApiError";

  constructor(readonly status: number | null, detail: string) {
    super(detail);
  }
}

/** What an error says, for people. */
export function problemOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Fields of a query or a selection; what is empty is not asked for. */
type Fields = Readonly<Record<string, string | number | readonly string[] | null | undefined>>;
/** An order, what happened to it, and the same as beats. */
export interface ToldStory extends answers.OrderStoryJson {
  readonly beats: readonly Beat[];
}

export type FaultRequest = Omit<answers.ArmedFaultJson, "id" | "createdAt">;

/** The routes that the page uses. Each rejects with an `ApiError`. */
export type ApiClient = ReturnType<typeof createApiClient>;

/** How long an answer may take, in milliseconds; longer for what reads whole tables: a dry run and the audit. */
const [ANSWER_TIMEOUT_MS, LONG_TIMEOUT_MS] = [15_000, 120_000];

/**
 * The routes of the server that the page came from. `fetcher` is the browser's `fetch`, or a stand-in. `onSignedOut` is
 * called when the server asks for the token.
 */
export function createApiClient(fetcher: typeof fetch, onSignedOut: () => void = () => {}) {
  /** The answer has the shape that this same server's routes declare, which tests hold them to: it is not checked again. */
  async function ask<T>(
    method: string,
    path: string,
    body?: object,
    timeoutMs = ANSWER_TIMEOUT_MS,
  ): Promise<T> {
    const response = await fetcher(path, {
      method,
      headers: { accept: "application/json", ...(body ? { "content-type": "application/json" } : {}) },
      signal: AbortSignal.timeout(timeoutMs),
      ...(body ? { body: JSON.stringify(body) } : {}),
    }).catch(() => {
      const words = `${method} ${path} got no answer: the server is away, or busy. Try again in a moment.`;
      throw new ApiError(null, words);
    });
    const json: unknown = await response.json().catch(() => undefined);
    if (response.ok && json !== undefined) return json as T;
    if (response.status === 401) onSignedOut();
    throw refusal(path, response.status, json);
  }
  const get = <T>(path: string, query: Fields = {}) => ask<T>("GET", `${path}${queryOf(query)}`);
  const post = <T>(path: string, body?: object) => ask<T>("POST", path, body);
  const id = encodeURIComponent;

  return {
    listOrders: (query: Fields) => get<answers.OrdersPage>("/ops/orders", query),
    readStory: (order: string) => get<ToldStory>(`/ops/orders/${id(order)}/timeline`, { as: "beats" }),
    readWhy: (order: string) => get<answers.WhyJson>(`/ops/orders/${id(order)}/why`),
    playScenario: (name: string) => post<answers.OrderJson>(`/ops/scenarios/${id(name)}`),

    listMessages: (query: Fields) => get<answers.MessagesPage>("/ops/messages", query),
    readEvent: (event: string) => get<answers.OutboxEventJson>(`/ops/outbox/${id(event)}`),
    listInbox: (query: Fields) => get<answers.InboxPage>("/ops/processed-events", query),
    listGroups: (query: Fields) =>
      get<{ groups: readonly answers.LetterGroupJson[] }>("/ops/dead-letters/groups", query),
    listLetters: (query: Fields) => get<answers.DeadLettersPage>("/ops/dead-letters", query),
    readLetter: (letter: string) => get<answers.DeadLetterJson>(`/ops/dead-letters/${id(letter)}`),
    redriveEdited: (letter: string, body: string) =>
      post<answers.RedrivenJson>(`/ops/dead-letters/${id(letter)}/redrive`, { body }),

    prepareEvents: (filter: Fields) =>
      ask<answers.ReplayJson>("POST", "/ops/replays", given(filter), LONG_TIMEOUT_MS),
    prepareLetters: (filter: Fields) =>
      ask<answers.ReplayJson>("POST", "/ops/dead-letters/sets", given(filter), LONG_TIMEOUT_MS),
    readSet: (set: string) => get<answers.ReplayJson>(`/ops/replays/${id(set)}`),
    readOutcome: (set: string) => get<answers.ReplayOutcome>(`/ops/replays/${id(set)}/outcome`),
    listSet: (set: string) => get<answers.ReplayEventsPage>(`/ops/replays/${id(set)}/events`, { limit: 100 }),
    startSet: (set: string, ratePerSecond: number) =>
      post<answers.ReplayJson>(`/ops/replays/${id(set)}/start`, { ratePerSecond }),
    cancelSet: (set: string) => post<answers.ReplayJson>(`/ops/replays/${id(set)}/cancel`),
    discardSet: (setId: string, because: string) => post("/ops/dead-letters/discard", { setId, because }),
    listOperations: () => get<answers.OperationsPage>("/ops/operations", { limit: 50 }),

    listHolds: () => get<answers.HoldsJson>("/ops/holds"),
    holdPart: (part: string) => ask("PUT", `/ops/holds/${id(part)}`),
    stepPart: (part: string) => post(`/ops/holds/${id(part)}/step`),
    resumePart: (part: string) => ask("DELETE", `/ops/holds/${id(part)}`),
    /** Null where faults are off. */
    listFaults: () =>
      get<answers.FaultsJson>("/ops/faults").catch((error: unknown) => {
        if (error instanceof ApiError && error.status === 404) return null;
        throw error;
      }),
    armFault: (fault: FaultRequest) => post("/ops/faults", fault),
    disarmFault: (fault: string) => post(`/ops/faults/${id(fault)}/disarm`),
    readAudit: () => ask<answers.AuditJson>("GET", "/ops/audit", undefined, LONG_TIMEOUT_MS),
  };
}

/** The problem details of a refusal, as far as there are any. */
function refusal(path: string, status: number, json: unknown): ApiError {
  const problem: Partial<answers.Problem> = typeof json === "object" && json !== null ? json : {};
  const fields = problem.errors?.map(({ field, detail }) => `${field} ${detail}`.trim()).join("; ");
  const detail = problem.detail ??
    `${path} was answered with ${status}, and without a reason. Reload the page.`;
  return new ApiError(status, [detail, fields].filter(Boolean).join(" "));
}

function given(fields: Fields): object {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== ""),
  );
}

function queryOf(fields: Fields): string {
  const pairs = Object.entries(given(fields)).map(([name, value]): [string, string] => [name, String(value)]);
  return pairs.length > 0 ? `?${new URLSearchParams(pairs)}` : "";
}
