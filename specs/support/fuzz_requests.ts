/**
 * HTTP requests that nobody should send, and bytes that are no HTTP, or hardly.
 *
 * @module
 */
import fc from "fast-check";
import { Buffer } from "node:buffer";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { badBody, type Generator, jsonOf, nastyText, wrongValue } from "./bad_messages.ts";

/** A request for `fetch`. */
export interface FuzzedRequest {
  /** What it must be answered with: an order, an error that says what is wrong with it, or whatever fits. */
  readonly expects: "order" | "refusal" | "anything";
  /** Its method, of the standard's or not. */
  readonly method: string;
  /** Its path with its query, not always well encoded. */
  readonly path: string;
  /** Its headers. */
  readonly headers: Readonly<Record<string, string>>;
  /** Its body; null for none. */
  readonly body: Uint8Array | null;
}

type Route = readonly [method: string, path: string, parameters?: readonly string[]];

/** Every route, as the API serves it, but the costly ones. */
const ROUTES: readonly Route[] = [
  ["POST", "/orders"],
  ["GET", "/orders", ["limit", "cursor"]],
  ["GET", "/orders/:id"],
  ["GET", "/orders/:id/timeline"],
  ["GET", "/healthz"],
  ["GET", "/readyz"],
  ["POST", "/ops/scenarios/order-success"],
  ["POST", "/ops/scenarios/payment-failure"],
  ["POST", "/ops/scenarios/enrollment-failure"],
  ["GET", "/ops/outbox", ["limit", "cursor", "type", "orderId", "published"]],
  ["GET", "/ops/outbox/:id"],
  ["POST", "/ops/outbox/:id/republish"],
  ["GET", "/ops/processed-events", ["limit", "cursor", "consumer", "eventId"]],
  ["GET", "/ops/dead-letters", ["limit", "cursor", "state", "consumer", "reason", "orderId"]],
  ["POST", "/ops/dead-letters/redrive"],
  ["POST", "/ops/dead-letters/discard"],
  ["GET", "/ops/dead-letters/:id"],
  ["POST", "/ops/dead-letters/:id/redrive"],
  ["POST", "/ops/dead-letters/:id/discard"],
  ["GET", "/ops/orders/:id/timeline"],
];
/** Routes that read a lot, or wait: asked less often, so that the rest gets its turn. */
const COSTLY_ROUTES: readonly Route[] = [
  ["GET", "/metrics"],
  ["GET", "/ops/debug"],
  ["POST", "/ops/outbox/tick"],
  ["GET", "/ops/audit", ["graceSeconds"]],
];
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND", "get", "X-Y"];

/** Pieces of a URL as they stand there, well encoded or not. */
const piece: Generator<string> = fc.oneof(
  fc.uuid(),
  nastyText.map((text) => encodeURIComponent(text.toWellFormed())),
  fc.constantFrom(
    "%",
    "%0",
    "%zz",
    "%E0%A4%A",
    "%FF",
    "%00",
    "%2e%2e",
    "..",
    "%2F",
    "//",
    ";a=b",
    "*",
    "+",
    ":id",
  ),
  fc.constantFrom(
    "0",
    "1",
    "100",
    "101",
    "-1",
    "1e2",
    "0x10",
    "1.5",
    "Infinity",
    "NaN",
    "%201",
    "true",
    "OPEN",
    "null",
  ),
  fc.integer({ min: 1, max: 8000 }).map((n) => "a".repeat(n)),
);

/** A route with its own method or another one, and pieces in the places of ids and parameters. */
function targetOf(routes: readonly Route[]): Generator<{ method: string; path: string }> {
  return fc.constantFrom(...routes).chain(([method, path, parameters = ["limit", "__proto__"]]) =>
    fc.record({
      method: fc.oneof({ weight: 4, arbitrary: fc.constant(method) }, fc.constantFrom(...METHODS)),
      path: fc.tuple(piece, fc.array(fc.tuple(fc.constantFrom(...parameters), piece), { maxLength: 3 }))
        .map(([id, pairs]) => path.replace(":id", () => id) + queryOf(pairs)),
    })
  );
}

const nowhere: Generator<{ method: string; path: string }> = fc.record({
  method: fc.constantFrom(...METHODS),
  path: fc.array(piece, { maxLength: 5 }).map((pieces) => `/${pieces.join("/")}`),
});

function queryOf(pairs: readonly (readonly [string, string])[]): string {
  return pairs.length > 0 ? `?${pairs.map(([name, value]) => `${name}=${value}`).join("&")}` : "";
}

/** What a header can carry: the client refuses all else itself. */
const headerValue: Generator<string> = fc.oneof(
  nastyText.map((text) => text.replaceAll(/[^\x20-\x7e\xa0-\xff]/g, "\xff")),
  fc.string({ maxLength: 300 }),
  fc.integer({ min: 100, max: 4000 }).map((n) => "x".repeat(n)),
  fc.constantFrom(
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-00-00-00",
    '"',
    '"a\\"b"',
    '"\\x"',
  ),
);

const contentType = fc.oneof(
  { weight: 4, arbitrary: fc.constant("application/json") },
  fc.constantFrom(
    "",
    "text/plain",
    "application/json; charset=utf-16",
    "application/problem+json",
    "multipart/form-data",
  ),
  headerValue,
);

const headers: Generator<Record<string, string>> = fc.record({
  "content-type": contentType,
  "x-correlation-id": headerValue,
  "idempotency-key": fc.oneof(headerValue, fc.constantFrom("key-1", "key-2", '"key-1"')),
  "traceparent": headerValue,
  "accept": headerValue,
  "accept-encoding": fc.constantFrom("gzip", "identity;q=0", "br;q=2", "*"),
  "authorization": headerValue,
  "if-none-match": headerValue,
  "range": fc.constantFrom("bytes=0-0", "bytes=-1"),
  "sec-fetch-site": fc.constantFrom("cross-site", "same-origin", "?"),
  "x-http-method-override": fc.constantFrom("DELETE", "POST"),
  "x-forwarded-for": headerValue,
}, { requiredKeys: [] });

const goodOrder = fc.record({
  userId: fc.constant(SCENARIO_USER),
  courseId: fc.constantFrom(...Object.values(RESERVED_COURSES)),
  amount: fc.constantFrom("49.90", "1", "0.01", "9999999999.99"),
});

/** An order with one field wrong or missing. */
const badOrder: Generator<string> = fc.tuple(
  goodOrder,
  fc.constantFrom("userId", "courseId", "amount"),
  fc.oneof(wrongValue, nastyText.filter((text) => !/^[\d.]+$/.test(text)), fc.constant(undefined)),
).map(([order, field, value]) => jsonOf({ ...order, [field]: value }));

/** What `/ops` takes as a selection of dead letters, with nasty texts in it. */
const opsBody: Generator<Uint8Array> = fc.tuple(
  fc.record({ because: nastyText, reason: nastyText }, { requiredKeys: [] }),
  fc.oneof({ weight: 4, arbitrary: fc.constant({}) }, fc.record({ consumer: nastyText, orderId: nastyText })),
).map(([texts, ids]) => bytes(jsonOf({ ...texts, ...ids })));

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const badOrderBody = fc.oneof(badOrder.map(bytes), badBody(["order.created"]));
const json = { "content-type": "application/json" };

/** A request over any route and method; one in 25 is a good order. */
export const fuzzedRequest: Generator<FuzzedRequest> = fc.oneof(
  {
    weight: 1,
    arbitrary: goodOrder.map((order): FuzzedRequest => ({
      expects: "order",
      method: "POST",
      path: "/orders",
      headers: json,
      body: bytes(JSON.stringify(order)),
    })),
  },
  {
    weight: 8,
    arbitrary: fc.tuple(headers, badOrderBody).map(([headers, body]): FuzzedRequest => ({
      expects: "refusal",
      method: "POST",
      path: "/orders",
      headers: { ...json, ...headers },
      body,
    })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(headers, goodOrder).map(([headers, order]): FuzzedRequest => ({
      expects: "anything",
      method: "POST",
      path: "/orders",
      headers: { ...json, ...headers },
      body: bytes(JSON.stringify(order)),
    })),
  },
  {
    weight: 15,
    arbitrary: fc.tuple(
      fc.oneof(
        { weight: 40, arbitrary: targetOf(ROUTES) },
        { weight: 1, arbitrary: targetOf(COSTLY_ROUTES) },
        { weight: 2, arbitrary: nowhere },
      ),
      fc.oneof(fc.constant(json), headers),
      fc.oneof(badOrderBody, opsBody),
    ).map(([{ method, path }, headers, body]): FuzzedRequest => ({
      expects: "anything",
      method,
      path,
      headers,
      body: method.toUpperCase() === "GET" || method === "HEAD" ? null : body,
    })),
  },
);

const HEAD_LINES = [
  "GET / HTTP/1.1",
  "GET /orders HTTP/1.1",
  "POST /orders HTTP/1.1",
  "GET /ops/debug HTTP/1.0",
  "GET /healthz HTTP/9.9",
  "GET  /healthz  HTTP/1.1",
  "GET http://elsewhere.example/ops/debug HTTP/1.1",
  "GET /or\0ders HTTP/1.1",
  "GET /\xff\xfe HTTP/1.1",
  "CONNECT elsewhere.example:443 HTTP/1.1",
  "TRACE / HTTP/1.1",
  "OPTIONS * HTTP/1.1",
  "PRI * HTTP/2.0",
  "HTTP/1.1 200 OK",
  "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
];
const HEADER_LINES = [
  "host: 127.0.0.1",
  "host: elsewhere.example",
  "host: a b",
  "host: [::1",
  "host: %00:99999",
  "host:",
  "content-length: 10",
  "content-length: -1",
  "content-length: 99999999999999999999",
  "transfer-encoding: chunked",
  "transfer-encoding: gzip, chunked",
  "content-type: application/json",
  "connection: upgrade",
  "upgrade: websocket",
  "upgrade: h2c",
  "expect: 100-continue",
  "no colon here",
  ": no name",
  " folded: line",
  "x-correlation-id: \0",
  "x\x00y: z",
];

/** What is written to a socket as it is. None of it makes an order. */
export const rawRequest: Generator<Uint8Array> = fc.oneof(
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 2000 }) },
  {
    weight: 6,
    arbitrary: fc.tuple(
      fc.constantFrom(...HEAD_LINES),
      fc.array(fc.constantFrom(...HEADER_LINES), { maxLength: 6 }),
      fc.constantFrom("\r\n", "\n", "\r"),
      fc.constantFrom(
        "",
        "{}",
        "5\r\nhello\r\n0\r\n\r\n",
        "zz\r\n",
        "ffffffffffffffffff\r\n",
        '{"userId":1}',
      ),
    ).map(([head, lines, end, body]) => latin1([head, ...lines, "", body].join(end))),
  },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 1, max: 400 }).map((n) =>
      latin1(`GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n${"x-many: y\r\n".repeat(n)}\r\n`)
    ),
  },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 1, max: 1_000_000 }).map((n) =>
      latin1(`GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-large: ${"y".repeat(n)}\r\n\r\n`)
    ),
  },
);

function latin1(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "latin1"));
}
