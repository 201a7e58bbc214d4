/**
 * Reads a JSON request body, bounded.
 *
 * @module
 */
import { HttpProblem, type RequestContext } from "./http_errors.ts";

/** The largest body that is read, in bytes. An order takes about 150. */
export const MAX_BODY_BYTES = 16 * 1024;

/**
 * The body of the request as JSON. Throws a 415 where it is declared as something else, a 413 where it is too large
 * (without reading the rest), a 400 where it is no JSON in UTF-8.
 */
export async function readJson(c: RequestContext): Promise<unknown> {
  const type = c.req.header("content-type")?.split(";")[0]?.trim().toLowerCase() ?? "";
  if (type !== "application/json" && !/^application\/[\w.-]+\+json$/.test(type)) {
    throw new HttpProblem(415, "Send the body as JSON, with the header content-type: application/json.");
  }
  const bytes = await readBounded(c.req.raw.body);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    const why = error instanceof SyntaxError ? error.message : "it is not UTF-8";
    throw new HttpProblem(400, `The body is not JSON: ${why}.`);
  }
}

async function readBounded(body: ReadableStream<Uint8Array> | null): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) {
      throw new HttpProblem(413, `The body may have at most ${MAX_BODY_BYTES} bytes.`);
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
