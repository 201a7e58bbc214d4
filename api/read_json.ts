/**
 * Reads a request's body, bounded.
 *
 * @module
 */
import { withTimeout } from "../shared/process/stop.ts";
import { HttpProblem, type RequestContext } from "./http.ts";

/** The largest body that is read, in bytes. An order takes about 150. */
export const MAX_BODY_BYTES = 16 * 1024;
/** How long a body may take to come, in milliseconds. The server itself waits for as long as the client likes. */
const BODY_MS = 10_000;

/**
 * The body of the request as JSON. Throws a 415 where it is declared as something else, a 413 where it is too large
 * (without reading the rest), a 408 where it has not come after `bodyMs` milliseconds (by default 10 s), a 400 where it
 * is no JSON in UTF-8.
 */
export async function readJson(c: RequestContext, bodyMs: number = BODY_MS): Promise<unknown> {
  const type = c.req.header("content-type")?.split(";")[0]?.trim().toLowerCase() ?? "";
  if (type !== "application/json" && !/^application\/[\w.-]+\+json$/.test(type)) {
    throw new HttpProblem(415, "Send the body as JSON, with the header content-type: application/json.");
  }
  const bytes = await readWhole(c.req.raw, bodyMs);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    const why = error instanceof SyntaxError ? error.message : "it is not UTF-8";
    throw new HttpProblem(400, `The body is not JSON: ${why}.`);
  }
}

/**
 * As `readBounded`. A body that says how long it is, which the server holds it to, is read in one go: without a stream,
 * which costs more than all else that is done about an order's request.
 */
async function readWhole(request: Request, bodyMs: number): Promise<Uint8Array> {
  const length = request.headers.get("content-length");
  if (length === null || request.headers.has("transfer-encoding")) {
    return await readBounded(request.body, bodyMs);
  }
  if (Number(length) > MAX_BODY_BYTES) throw tooLarge();
  return await inTime(
    bodyMs,
    request.bytes().catch(() => {
      throw endedTooSoon();
    }),
  );
}

/**
 * The bytes of a body. Throws a 413 where there are more than `MAX_BODY_BYTES`, without reading the rest, and a 408 where
 * they have not come after `bodyMs` milliseconds (by default 10 s).
 */
export async function readBounded(
  body: ReadableStream<Uint8Array> | null,
  bodyMs: number = BODY_MS,
): Promise<Uint8Array> {
  return await inTime(bodyMs, collect(body));
}

/** What is read, unless that takes too long: then the rest is left to the server, which ends the connection after it. */
async function inTime(bodyMs: number, reading: Promise<Uint8Array>): Promise<Uint8Array> {
  const bytes = await withTimeout(bodyMs, reading);
  if (bytes) return bytes;
  throw new HttpProblem(408, `The body had not come after ${bodyMs / 1000} s. Send the request again.`);
}

async function collect(body: ReadableStream<Uint8Array> | null): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of inFull(body)) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) {
      throw tooLarge();
    }
    chunks.push(chunk);
  }
  const [only] = chunks;
  if (only && chunks.length === 1) return only;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** The chunks of the body; throws a 400 where it ends before it should. */
async function* inFull(body: ReadableStream<Uint8Array> | null): AsyncGenerator<Uint8Array> {
  try {
    yield* body ?? [];
  } catch {
    throw endedTooSoon();
  }
}

function tooLarge(): HttpProblem {
  return new HttpProblem(413, `The body may have at most ${MAX_BODY_BYTES} bytes.`);
}

function endedTooSoon(): HttpProblem {
  return new HttpProblem(400, "The body ended before all of it had come.");
}
