/**
 * The request header `Idempotency-Key`, which makes a `POST` that may be repeated
 * (https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/).
 *
 * @module
 */
import { createHash } from "node:crypto";
import { HttpProblem } from "./http_errors.ts";

/** The request header that carries the key. */
export const IDEMPOTENCY_HEADER = "idempotency-key";
/** The response header that says, with `true`, that the answer is an earlier request's. */
export const REPLAYED_HEADER = "idempotency-replayed";

/** A String of structured fields (RFC 9651, section 3.3.3): in quotes, with `\"` and `\\`. */
const QUOTED = /^"((?:[^"\\]|\\["\\])*)"$/;
const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * The key that the header's value says, or undefined where there is no header. The draft wants a quoted string, many
 * clients send the bare key: both are taken, and mean the same. Throws a 400 for a value that is no key.
 */
export function parseIdempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const key = header.startsWith('"') ? QUOTED.exec(header)?.[1]?.replaceAll(/\\(["\\])/g, "$1") : header;
  if (key !== undefined && KEY.test(key)) return key;
  throw new HttpProblem(
    400,
    `The header ${IDEMPOTENCY_HEADER} must be 1 to 255 visible ASCII characters, bare or as a quoted string. ` +
      "Send a new uuid for each new request.",
  );
}

/**
 * What tells one request from another, a SHA-256 in hex. `values` are those of the validated request, in a fixed order:
 * how the JSON was written makes no difference.
 */
export function fingerprintOf(values: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(values)).digest("hex");
}
