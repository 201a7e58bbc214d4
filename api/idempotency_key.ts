/**
 * The header `Idempotency-Key` (https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/).
 *
 * @module
 */
import { HttpProblem, type RequestContext } from "./http.ts";
import type { Answer, Parameter } from "./openapi/route.ts";

const HEADER = "idempotency-key";

/** The request header that carries the key, for the API's description. */
export const IDEMPOTENCY_KEY: Parameter = {
  name: HEADER,
  in: "header",
  description:
    "Makes the request one that may be repeated, even while the first is under way: the same key and body give " +
    "the first answer again. " +
    "1 to 255 visible ASCII characters, bare or as a quoted string; a new uuid for each new request.",
  schema: { type: "string", minLength: 1 },
  example: "8e03978e-40d5-43e8-bc93-6894a57f9324",
};

/** The answer's header that says, with `true`, that the answer is an earlier request's. */
export const REPLAYED: Answer["headers"] = {
  "idempotency-replayed": {
    description: "`true` where this is the answer that an earlier request with the key was given.",
    schema: { const: "true" },
  },
};

/** A String of structured fields (RFC 9651, section 3.3.3): in quotes, with `\"` and `\\`. */
const QUOTED = /^"((?:[^"\\]|\\["\\])*)"$/;
const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * The request's key, or undefined where there is no header. The draft wants a quoted string, many clients send the bare
 * key: both are taken, and mean the same. Throws a 400 for a value that is no key.
 */
export function idempotencyKeyOf(c: RequestContext): string | undefined {
  const header = c.req.header(HEADER);
  if (header === undefined) return undefined;
  const key = header.startsWith('"') ? QUOTED.exec(header)?.[1]?.replaceAll(/\\(["\\])/g, "$1") : header;
  if (key !== undefined && KEY.test(key)) return key;
  throw new HttpProblem(
    400,
    `The header ${HEADER} must be 1 to 255 visible ASCII characters, bare or as a quoted string. Send a new uuid for ` +
      "each new request.",
  );
}
