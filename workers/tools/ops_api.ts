/**
 * Asks the API's routes under `/ops`, for the command line.
 *
 * @module
 */
import { z } from "zod";
import { UsageError } from "./command.ts";
import { readConfig } from "../../shared/process/config.ts";
import { messageOf } from "../../shared/process/errors.ts";

/**
 * The API refused a request, or could not be asked; the message says why and what to do. The status code is null where
 * there was no answer.
 */
export class ApiError extends Error {
  override name = "ApiError";

  /** An error with the status code that it came with. */
  constructor(readonly status: number | null, message: string) {
    super(message);
  }
}

/** A question under way at `path`, such as `/ops/replays`; its answer is what `schema` makes of the JSON. */
export type AskOps = <T>(
  schema: z.core.$ZodType<T>,
  path: string,
  method?: "POST",
  body?: object,
) => Promise<T>;

const problem = z.object({
  detail: z.string(),
  errors: z.array(z.object({ field: z.string(), detail: z.string() })).default([]),
});

/**
 * A client of the API at `url`, which has no slash at the end, with the token of `OPS_TOKEN` where that is set. An answer
 * may take `timeoutMs`.
 *
 * Errors: `ConfigError` for a wrong token. A question rejects with `UsageError` where the API says that a value is not
 * valid (400), with the fields at fault; with `ApiError` where it refuses otherwise, cannot be reached, or gives another
 * answer than `schema` asks for.
 */
export function opsApi(url: string, timeoutMs: number): AskOps {
  const { OPS_TOKEN: token } = readConfig(["OPS_TOKEN"]);
  return async (schema, path, method, body) => {
    const request = {
      ...(method ? { method } : {}),
      ...(body ? { body: JSON.stringify(body) } : {}),
      headers: {
        ...(body ? { "content-type": "application/json" } : {}),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      signal: AbortSignal.timeout(timeoutMs),
    };
    const { status, ok, json } = await fetch(`${url}${path}`, request)
      .then(async (response) => ({
        status: response.status,
        ok: response.ok,
        json: jsonOf(await response.text()),
      }))
      .catch((error) => {
        throw new ApiError(null, whyNoAnswer(url, error));
      });
    if (!ok) throw refusal(status, json);
    const answer = z.safeParse(schema, json);
    if (answer.success) return answer.data;
    throw new ApiError(
      status,
      `${method ?? "GET"} ${path} gave no such answer as expected: is ${url} OrderFlow?`,
    );
  };
}

function whyNoAnswer(url: string, error: unknown): string {
  if (error instanceof Deno.errors.NotCapable) {
    return `The task reaches this machine alone, not ${url}: see "ops" in deno.json.`;
  }
  const cause = error instanceof Error ? error.cause ?? error : error; // fetch itself says only that it failed
  return `Cannot reach the API at ${url}: ${messageOf(cause)}. Is it running? ` +
    "Start it with deno task dev, or say with --url where it is.";
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // which is no answer either
  }
}

function refusal(status: number, json: unknown): ApiError | UsageError {
  const told = problem.safeParse(json).data;
  if (!told) return new ApiError(status, `The API answered ${status} without saying why.`);
  const fields = told.errors.map(({ field, detail }) => `${field} ${detail}`.trim());
  if (status === 400) return new UsageError(fields.join("; ") || told.detail);
  return new ApiError(status, [told.detail, ...fields].join(" "));
}
