/**
 * Asks the API's routes under `/ops`, for the command line.
 *
 * @module
 */
import { z } from "zod";
import { UsageError } from "./command.ts";
import { messageOf } from "../../shared/process/errors.ts";

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

/**
 * A schema of zod or zod/mini that makes a `T` of an answer.
 *
 * @internal
 */
export type AnswerSchema<T> = z.core.$ZodType<T>;

/**
 * Asks for `path`, such as `/ops/replays`, and answers with what `schema` makes of the JSON.
 *
 * Errors: `UsageError` where the API says that a value is not valid (400), with the fields at fault; `ApiError` where it
 * refuses otherwise, cannot be reached, or gives another answer than `schema` asks for.
 */
export type AskOps = <T>(
  schema: AnswerSchema<T>,
  method: "GET" | "POST",
  path: string,
  body?: object,
) => Promise<T>;

/** Where the API is, and how it is asked. */
export interface OpsApiOptions {
  /** Its URL, without a slash at the end. */
  readonly url: string;
  /** The token for `/ops`, where it has one. */
  readonly token: string | undefined;
  /** How long it may take to answer, in milliseconds. */
  readonly timeoutMs: number;
}

const BAD_REQUEST = 400;

const problem = z.object({
  detail: z.string(),
  errors: z.array(z.object({ field: z.string(), detail: z.string() })).default([]),
});

/** A client of the API. It opens nothing until something is asked for. */
export function opsApi(options: OpsApiOptions): AskOps {
  const { url } = options;
  return async (schema, method, path, body) => {
    const { status, ok, text } = await answerOf(options, method, path, body);
    const json = parsed(text);
    if (!ok) throw refusal(status, json);
    const answer = z.safeParse(schema, json);
    if (answer.success) return answer.data;
    throw new ApiError(status, `${method} ${path} gave no such answer as expected: is ${url} OrderFlow?`);
  };
}

async function answerOf(
  { url, token, timeoutMs }: OpsApiOptions,
  method: string,
  path: string,
  body: object | undefined,
) {
  try {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(body ? { "content-type": "application/json" } : {}),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      signal: AbortSignal.timeout(timeoutMs),
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    return { status: response.status, ok: response.ok, text: await response.text() };
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) {
      throw new ApiError(null, `The task reaches this machine alone, not ${url}: see "ops" in deno.json.`);
    }
    throw new ApiError(
      null,
      `Cannot reach the API at ${url}: ${messageOf(causeOf(error))}. Is it running? ` +
        "Start it with deno task dev, or say with --url where it is.",
    );
  }
}

/** What fetch itself says is only that it failed. */
function causeOf(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined ? error.cause : error;
}

function parsed(text: string): unknown {
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
  if (status === BAD_REQUEST) return new UsageError(fields.join("; ") || told.detail);
  return new ApiError(status, [told.detail, ...fields].join(" "));
}
