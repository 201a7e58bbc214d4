// Asks the API of the running system, for the command line.

import { z } from "zod";
import { flag, UsageError } from "./command.ts";
import { readConfig } from "../../shared/process/config.ts";
import { messageOf } from "../../shared/process/errors.ts";

/** The API refused a request with this status, or (null) could not be asked; the message says why and what to do. */
export class ApiError extends Error {
  override name = "ApiError";

  constructor(readonly status: number | null, message: string) {
    super(message);
  }
}

/** The flag that says where the API is, where that is not the running system's. */
export const urlFlag = flag(
  z.string().refine((value) => /^https?:\/\/[^/]/.test(value) && URL.canParse(value), {
    error: "takes a URL such as http://127.0.0.1:8000",
  }).transform((value) => value.replace(/\/+$/, "")).optional(),
  "where the API is (default: where deno task dev has it); OPS_TOKEN is sent to it",
  "<url>",
);

/** Where the API of the running system is: as `deno task dev` has written it down, or this machine's `PORT`. */
export function runningApi(): string {
  const { ORDERFLOW_API_URL: url, PORT: port } = readConfig(["ORDERFLOW_API_URL", "PORT"]);
  return url ?? `http://127.0.0.1:${port}`;
}

/** As `fetch`, but to a loopback address never through a proxy, which `HTTP_PROXY` may name: requests carry a token. */
export async function fetchDirectly(
  url: string,
  init: RequestInit,
): Promise<{ status: number; text: string }> {
  const { protocol, hostname, port } = new URL(url);
  const isLoopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
  const address = { hostname, port: Number(port) || (protocol === "http:" ? 80 : 443) };
  using client = isLoopback ? Deno.createHttpClient({ proxy: { transport: "tcp", ...address } }) : undefined;
  const response = await fetch(url, { ...init, ...client ? { client } : {} });
  return { status: response.status, text: await response.text() };
}

export type AskOps = ReturnType<typeof opsApi>["ask"];

/**
 * The API of the running system, or the one at the `given` URL, which is asked with the token of `OPS_TOKEN` where that is
 * set. An answer may take `timeoutMs`, and ends with `stop`. `advise` makes `deno task <task>` out of a task and its
 * flags, so that it can be pasted and is about this same system.
 *
 * Errors: `ConfigError` for a wrong token. A question rejects with `UsageError` where the API says that a value is not
 * valid (400), with the fields at fault; with `ApiError` where it refuses otherwise, cannot be reached, or gives another
 * answer than `schema` asks for.
 */
export function opsApi(given: string | undefined, timeoutMs: number, stop: AbortSignal | null = null) {
  const { OPS_TOKEN: token } = readConfig(["OPS_TOKEN"]);
  const home = Deno.env.get("ORDERFLOW_HOME");
  const running = runningApi(); // a wrong configuration is told of whatever is given
  const url = given ?? running;

  /** Asks a question to `path`, such as `/ops/replays`; its answer is what `schema` makes of the JSON. */
  async function ask<T>(
    schema: z.core.$ZodType<T>,
    path: string,
    method?: "POST",
    body?: object,
  ): Promise<T> {
    const { status, text } = await fetchDirectly(`${url}${path}`, {
      method: method ?? "GET",
      body: body ? JSON.stringify(body) : null,
      headers: {
        "user-agent": "deno task", // by which what operators did is told apart
        ...body ? { "content-type": "application/json" } : {},
        ...token === undefined ? {} : { authorization: `Bearer ${token}` },
      },
      signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), ...stop ? [stop] : []]),
    }).catch((error) => {
      throw new ApiError(null, whyNoAnswer(error));
    });
    const json = jsonOf(text);
    if (status >= 300) throw refusal(status, json);
    const { success, data } = z.safeParse(schema, json);
    if (success) return data;
    const question = `${method ?? "GET"} ${path}`;
    throw new ApiError(status, `${question} gave no such answer as expected: is ${url} OrderFlow?`);
  }

  const advise = (task: string, isOfApi = true) => {
    const flag = given && isOfApi ? ` --url=${given}` : "";
    return `${home ? `ORDERFLOW_HOME=${shellWord(home)} ` : ""}deno task ${task}${flag}`;
  };

  function whyNoAnswer(error: unknown): string {
    if (error instanceof Deno.errors.NotCapable) {
      return `The task reaches this machine alone, not ${url}: see "ops" in deno.json.`;
    }
    const cause = error instanceof Error ? error.cause ?? error : error; // fetch itself says only that it failed
    return `Cannot reach the API at ${url}: ${messageOf(cause)}. Is it running? ` +
      `Start it with ${advise("dev", false)}, or say with --url where it is.`;
  }

  return { url, ask, advise };
}

/** A text as a shell takes it for one word. */
export function shellWord(text: string): string {
  return /^[\w./:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // which is no answer either
  }
}

const problemSchema = z.object({
  detail: z.string(),
  errors: z.array(z.object({ field: z.string(), detail: z.string() })).default([]),
});

function refusal(status: number, json: unknown): ApiError | UsageError {
  const { data } = problemSchema.safeParse(json);
  if (!data) return new ApiError(status, `The API answered ${status} without saying why.`);
  const fields = data.errors.map(({ field, detail }) => `${field} ${detail}`.trim());
  if (status === 400) return new UsageError(fields.join("; ") || data.detail);
  return new ApiError(status, [data.detail, ...fields].join(" "));
}
