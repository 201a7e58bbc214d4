// Requests to an API: JSON, in this process or over a socket, and bytes over a bare socket that no client sends.

import type { App } from "../../api/http.ts";
import { withTimeout } from "../../shared/process/stop.ts";

/**
 * Sends a request such as `POST /orders` to an application in this process, or to the API at a URL: `body` as JSON, or as
 * it is where it is a text. Answers with what came, whatever its status; the body is parsed where it is JSON.
 */
export async function ask(
  api: App | string,
  line: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
) {
  const [method = "", path = ""] = line.split(" ");
  const sent = body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) };
  const type = body === undefined ? {} : { "content-type": "application/json" };
  const init = { method, headers: { ...type, ...headers }, ...sent };
  const response = typeof api === "string"
    ? await fetch(`${api}${path}`, init)
    : await api.request(path, init);
  const text = await response.text();
  const isJson = /[/+]json\b/.test(response.headers.get("content-type") ?? "");
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
}

/**
 * As {@linkcode ask}; answers with the body of a success.
 *
 * Errors: unless the answer is a success, with what it says.
 */
export async function call(
  api: App | string,
  line: string,
  ...more: [body?: unknown, headers?: Record<string, string>]
) {
  const { status, body } = await ask(api, line, ...more);
  if (status >= 300) throw new Error(`${line}: ${status} ${JSON.stringify(body)}`);
  return body;
}

/** As {@linkcode call}, by method and URL. */
export function callApi(method: string, url: string, body?: unknown, headers: Record<string, string> = {}) {
  return call("", `${method} ${url}`, body, headers);
}

/** How long an answer is waited for, in milliseconds. */
const ANSWER_MS = 5000;

/** Connects to the server at `url`; disposing closes the connection. Nothing is read before `read` or `until`. */
export async function connectRaw(url: string) {
  const { hostname, port } = new URL(url);
  const socket = await Deno.connect({ hostname, port: Number(port) });
  const chunk = new Uint8Array(16_384);
  let text = "";
  let ended = false;
  let reading: Promise<void> | null = null;

  async function readChunk(): Promise<void> {
    const length = await socket.read(chunk).catch(() => null); // a reset is an end as well
    if (length === null) ended = true;
    else text += String.fromCharCode(...chunk.subarray(0, length));
    reading = null;
  }

  /** All that has come once `wanted` is content with it, the server has hung up, or `ms` are over. */
  async function until(wanted: (text: string) => boolean, ms = ANSWER_MS): Promise<string> {
    const deadline = performance.now() + ms;
    while (!wanted(text) && !ended && performance.now() < deadline) {
      await withTimeout(deadline - performance.now(), reading ??= readChunk());
    }
    return text;
  }

  return {
    /** Writes text as Latin-1; the server may have hung up, which is no error and for `read` to tell. */
    async send(bytes: string): Promise<void> {
      const data = Uint8Array.from(bytes, (letter) => letter.charCodeAt(0));
      try {
        for (let at = 0; at < data.length;) at += await socket.write(data.subarray(at));
      } catch {
        // As said.
      }
    },
    /** Says that no more will be sent. */
    finish: () => socket.closeWrite().catch(() => {}),
    until,
    /** All that the server has to say, and whether it hung up within `ms`. */
    async read(ms?: number) {
      await until(() => false, ms);
      const statuses = [...text.matchAll(/^HTTP\/1\.[01] (\d{3})/gm)].map(([, status]) => Number(status));
      return { text, ended, statuses };
    },
    async [Symbol.asyncDispose]() {
      socket.close();
      await reading;
    },
  };
}

/** Sends one request and answers with what came of it. `head` has the lines of the head without `connection`. */
export async function rawRequest(url: string, head: readonly string[], body = "") {
  await using connection = await connectRaw(url);
  await connection.send([...head, "connection: close", "", body].join("\r\n"));
  return await connection.read();
}
