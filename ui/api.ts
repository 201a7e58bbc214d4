/**
 * The API as the page asks it: one function per route, every failure an `ApiError` in words.
 *
 * @module
 */
import type * as answers from "../shared/ops/answers.ts";
import type { ToldStory } from "./page_data.ts";

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
type Fields = Readonly<Record<string, string | number | boolean | readonly string[] | null | undefined>>;
export type FaultRequest = Omit<answers.ArmedFaultJson, "id" | "createdAt">;

/** The routes that the page uses. Each rejects with an `ApiError`. */
export type ApiClient = ReturnType<typeof createApiClient>;

/** How long an answer may take, in milliseconds; longer for what reads whole tables: a dry run and the audit. */
const [ANSWER_TIMEOUT_MS, LONG_TIMEOUT_MS] = [15_000, 120_000];

interface Ask {
  readonly method?: "GET" | "POST";
  readonly body?: object;
  readonly timeoutMs?: number;
}

/**
 * The routes of the server that the page came from. `fetcher` is the browser's `fetch`, or a stand-in. `onSignedOut` is
 * called when the server asks for the token.
 */
export function createApiClient(fetcher: typeof fetch, onSignedOut: () => void = () => {}) {
  /** The answer has the shape that this same server's routes declare, which tests hold them to: it is not checked again. */
  async function ask<T>(
    path: string,
    { method = "GET", body, timeoutMs = ANSWER_TIMEOUT_MS }: Ask = {},
  ): Promise<T> {
    const { ok, status, json } = await answerOf(fetcher, path, method, body, timeoutMs);
    if (ok && json !== undefined) return json as T;
    if (status === 401) onSignedOut();
    throw refusal(path, status, json);
  }
  const get = <T>(path: string, query: Fields = {}) => ask<T>(`${path}${queryOf(query)}`);
  const post = <T>(path: string, body?: object, timeoutMs?: number) =>
    ask<T>(path, { method: "POST", ...(body ? { body } : {}), ...(timeoutMs ? { timeoutMs } : {}) });
  const id = encodeURIComponent;

  return {
    listOrders: (query: Fields) => get<answers.OrdersPage>("/ops/orders", query),
    /** The order as ops sees it, with the beats as everybody is told them. */
    readStory: async (order: string): Promise<ToldStory> => {
      const [story, { beats }] = await Promise.all([
        get<answers.OrderStoryJson>(`/ops/orders/${id(order)}/timeline`),
        get<Pick<ToldStory, "beats">>(`/orders/${id(order)}/timeline`, { as: "beats" }),
      ]);
      return { ...story, beats };
    },
    playScenario: (name: string) => post<answers.OrderJson>(`/ops/scenarios/${id(name)}`),
    readEvent: (event: string) => get<answers.OutboxEventJson>(`/ops/outbox/${id(event)}`),
    listOutbox: (query: Fields) => get<answers.OutboxPage>("/ops/outbox", query),
    republish: (event: string) => post<answers.RepublishedJson>(`/ops/outbox/${id(event)}/republish`),
    listInbox: (query: Fields) => get<answers.InboxPage>("/ops/processed-events", query),
    readLetter: (letter: string) => get<answers.DeadLetterJson>(`/ops/dead-letters/${id(letter)}`),
    listLetters: (query: Fields) => get<answers.DeadLettersPage>("/ops/dead-letters", query),
    redriveLetters: (ids: readonly string[]) =>
      post<answers.RedrivenJson>("/ops/dead-letters/redrive", { ids }),
    discardLetters: (ids: readonly string[], because: string) =>
      post<{ discarded: number }>("/ops/dead-letters/discard", { ids, because }),
    prepareReplay: (filter: Fields) =>
      post<answers.PreparedReplay>("/ops/replays", given(filter), LONG_TIMEOUT_MS),
    listReplays: (query: Fields) => get<answers.ReplaysPage>("/ops/replays", query),
    readReplay: (replay: string) => get<answers.ReplayJson>(`/ops/replays/${id(replay)}`),
    listReplayEvents: (replay: string) =>
      get<answers.ReplayEventsPage>(`/ops/replays/${id(replay)}/events`, { limit: 100 }),
    startReplay: (replay: string, ratePerSecond: number) =>
      post<answers.ReplayJson>(`/ops/replays/${id(replay)}/start`, { ratePerSecond }),
    cancelReplay: (replay: string) => post<answers.ReplayJson>(`/ops/replays/${id(replay)}/cancel`),
    /** Null where faults are off. */
    listFaults: () =>
      get<answers.FaultsJson>("/ops/faults").catch((error: unknown) => {
        if (error instanceof ApiError && error.status === 404) return null;
        throw error;
      }),
    armFault: (fault: FaultRequest) => post("/ops/faults", fault),
    disarmFault: (fault: string) => post(`/ops/faults/${id(fault)}/disarm`),
    readWhy: (order: string) => get<answers.WhyJson>(`/ops/orders/${id(order)}/why`),
    readAudit: () => ask<answers.AuditJson>("/ops/audit", { timeoutMs: LONG_TIMEOUT_MS }),
  };
}

async function answerOf(
  fetcher: typeof fetch,
  path: string,
  method: string,
  body: object | undefined,
  timeoutMs: number,
): Promise<{ ok: boolean; status: number; json: unknown }> {
  try {
    const response = await fetcher(path, {
      method,
      headers: { accept: "application/json", ...(body ? { "content-type": "application/json" } : {}) },
      signal: AbortSignal.timeout(timeoutMs),
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const json: unknown = await response.json().catch(() => undefined);
    return { ok: response.ok, status: response.status, json };
  } catch {
    throw new ApiError(
      null,
      `${method} ${path} got no answer: the server is away, or busy. Try again in a moment.`,
    );
  }
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
