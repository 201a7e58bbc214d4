/**
 * Bytes for the API's socket that are no HTTP, or hardly.
 *
 * @module
 */
import fc from "fast-check";
import { Buffer } from "node:buffer";
import type { Generator } from "./bad_messages.ts";

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
