/**
 * What a process writes, as text, while it writes it.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { signalChild } from "../../shared/process/stop.ts";
import { eventually } from "./eventually.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/**
 * Reads `streams`, such as a child's standard output and error, into one text, in the order in which it comes. `text` is
 * all that has come so far; `ended` resolves when nothing more can come.
 */
export function readOutput(...streams: readonly ReadableStream<Uint8Array<ArrayBuffer>>[]) {
  let text = "";
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const part of stream.pipeThrough(new TextDecoderStream())) text += part;
  };
  return { text: () => text, ended: Promise.all(streams.map(read)).then(() => {}) };
}

export interface RunOptions {
  readonly env: Readonly<Record<string, string>>;
  /** What it prints once it has begun to work; then it is asked to stop. Without it, it ends by itself. */
  readonly until?: RegExp;
  /** Done before it is asked to stop. */
  readonly then?: () => Promise<unknown>;
}

/** Runs `entry` under a permission set of deno.json; answers with its exit code and all that it wrote. */
export async function runUnderSet(set: string, entry: string, args: readonly string[], options: RunOptions) {
  const { env, until, then } = options;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "--no-prompt", `-P=${set}`, entry, ...args],
    cwd: root,
    env: { NO_COLOR: "1", LOG_LEVEL: "debug", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = readOutput(child.stdout, child.stderr);
  try {
    if (until) await eventually(`${entry} to print ${until}`, () => until.test(output.text()), 60_000);
    await then?.();
  } finally {
    if (until) signalChild(child, "SIGTERM");
    await Promise.all([child.status, output.ended]);
  }
  return { code: (await child.status).code, output: output.text() };
}
