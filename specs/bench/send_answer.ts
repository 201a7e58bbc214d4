/**
 * The little of HTTP/1.1 that reading an answer to `POST /orders` takes: a status line, a body by `content-length` or in
 * chunks, and whether the connection can go on.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** One whole answer. */
export interface Answer {
  /** Its status, such as 201. */
  readonly status: number;
  /** Its body. */
  readonly body: string;
  /** Whether the server closes the connection behind it. */
  readonly closes: boolean;
}

interface Body {
  readonly bytes: Uint8Array;
  /** Where it ends among the bytes of the answer. */
  readonly end: number;
}

/** A chunk's size and its line end need no more bytes than that, unless somebody sends nonsense. */
const MAX_CHUNK_LINE = 100;

const decoder = new TextDecoder();
const [CR, LF] = [13, 10];

/**
 * The answer that `bytes` hold; null while it is not all there. Pure.
 *
 * Errors: when they begin no answer, when its length is missing or ambiguous, and when bytes follow that nobody asked
 * for.
 */
export function parseAnswer(bytes: Uint8Array): Answer | null {
  const headEnd = blankLine(bytes, 0);
  if (headEnd < 0) return null;
  const [statusLine = "", ...lines] = decoder.decode(bytes.subarray(0, headEnd)).split("\r\n");
  const status = Number(/^HTTP\/1\.1 ([2-5]\d\d)(?: |$)/.exec(statusLine)?.[1]);
  if (!status) throw new Error(`${quoted(statusLine)} is no status line of an HTTP/1.1 answer`);
  const headers = parseHeaders(lines);
  const body = findBody(bytes, headEnd + 4, headers);
  if (!body) return null;
  if (body.end < bytes.length) throw new Error(`${bytes.length - body.end} bytes follow the answer`);
  const closes = /(?:^|,)\s*close\s*(?:,|$)/i.test(headers.get("connection") ?? "");
  return { status, body: decoder.decode(body.bytes), closes };
}

function parseHeaders(lines: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon < 1) throw new Error(`${quoted(line)} is no header of an answer`);
    const name = line.slice(0, colon).toLowerCase();
    const before = headers.get(name);
    const value = line.slice(colon + 1).trim();
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}

function findBody(bytes: Uint8Array, start: number, headers: ReadonlyMap<string, string>): Body | null {
  const [coding, length] = [headers.get("transfer-encoding"), headers.get("content-length")];
  if (coding?.toLowerCase() === "chunked" && length === undefined) return findChunks(bytes, start);
  if (coding !== undefined || !/^\d{1,9}$/.test(length ?? "")) {
    throw new Error(
      `the answer's length is unclear: transfer-encoding ${coding ?? "-"}, content-length ${length ?? "-"}`,
    );
  }
  const end = start + Number(length);
  return end > bytes.length ? null : { bytes: bytes.subarray(start, end), end };
}

function findChunks(bytes: Uint8Array, start: number): Body | null {
  const chunks: Uint8Array[] = [];
  for (let at = start;;) {
    const lineEnd = lineBreak(bytes, at);
    if (lineEnd < 0 && bytes.length - at <= MAX_CHUNK_LINE) return null;
    const line = decoder.decode(bytes.subarray(at, lineEnd < 0 ? bytes.length : lineEnd));
    const digits = /^([0-9a-f]{1,8})(?:;.*)?$/i.exec(line)?.[1];
    if (lineEnd < 0 || !digits) throw new Error(`${quoted(line)} is no size of a chunk`);
    const size = Number.parseInt(digits, 16);
    if (size === 0) {
      const last = blankLine(bytes, lineEnd); // behind trailers, if there are any
      return last < 0 ? null : { bytes: Buffer.concat(chunks), end: last + 4 };
    }
    const end = lineEnd + 2 + size;
    if (bytes.length < end + 2) return null;
    if (bytes[end] !== CR || bytes[end + 1] !== LF) throw new Error(`a chunk is not ${size} bytes long`);
    chunks.push(bytes.subarray(lineEnd + 2, end));
    at = end + 2;
  }
}

/** Where the next CRLF begins; -1 where there is none. */
function lineBreak(bytes: Uint8Array, from: number): number {
  let at = bytes.indexOf(CR, from);
  while (at >= 0 && bytes[at + 1] !== LF) at = bytes.indexOf(CR, at + 1);
  return at;
}

/** Where the next CRLF CRLF begins; -1 where there is none. */
function blankLine(bytes: Uint8Array, from: number): number {
  let at = lineBreak(bytes, from);
  while (at >= 0 && (bytes[at + 2] !== CR || bytes[at + 3] !== LF)) at = lineBreak(bytes, at + 1);
  return at;
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
