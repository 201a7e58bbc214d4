// Runs tasks of `deno.json` as people do, and scripts under its permission sets; and reads what a process writes.

import { fileURLToPath } from "node:url";
import { z } from "zod";
import { signalChild } from "../../shared/process/stop.ts";
import { eventually } from "./eventually.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const tasksSchema = z.object({ tasks: z.record(z.string(), z.object({ command: z.string() })) });

/** A command of this very Deno in the project's root. Its standard input is no terminal. */
function denoCommand(
  args: readonly string[],
  { env = {}, ...options }: Deno.CommandOptions = {},
): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    cwd: root,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    ...options,
    env: { NO_COLOR: "1", ...env },
    args: [...args],
  });
}

export type TaskResult = Awaited<ReturnType<typeof resultOf>>;

/** Runs Deno to its end. */
export function runDeno(args: readonly string[], options: Deno.CommandOptions = {}): Promise<TaskResult> {
  return resultOf(denoCommand(args, options));
}

/** How a command ended, and what it printed; without the lines that say how far long work is. */
async function resultOf(command: Deno.Command) {
  const { code, stdout, stderr } = await command.output();
  const [out = "", err = ""] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, out, err: withoutProgress(err) };
}

interface TaskOptions extends Deno.CommandOptions {
  /** Addresses, as `host:port`, in the place of the set's own. */
  readonly net?: readonly string[];
}

/** The task's own command with `args`, but without the files of variables. */
export function taskCommand(task: string, args: readonly string[], { net, ...options }: TaskOptions = {}) {
  const { tasks } = tasksSchema.parse(JSON.parse(Deno.readTextFileSync(`${root}/deno.json`)));
  const line = tasks[task]?.command.replace(/^sh \S+ && /, "").replaceAll(/ --env-file=("[^"]*"|\S+)/g, "") ??
    "";
  const [deno, ...command] = line.split(" ");
  if (deno !== "deno") throw new Error(`The task ${task} of deno.json is not a command of deno alone`);
  if (net) command.splice(-1, 0, `--allow-net=${net}`);
  return denoCommand([...command, ...args], options);
}

export function runTask(
  task: string,
  args: readonly string[],
  options: TaskOptions = {},
): Promise<TaskResult> {
  return resultOf(taskCommand(task, args, options));
}

/** As `progressText` of `workers/tools/command.ts` begins. */
const PROGRESS_LINES = /^\[#*-*\] +\d+ % {2}.*\n/gm;

export function withoutProgress(text: string): string {
  return text.replaceAll(PROGRESS_LINES, "");
}

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

/** A run of `entry` under a permission set of deno.json. */
export interface Run {
  readonly set: string;
  readonly entry: string;
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** What it prints once it has begun to work; then it is asked to stop. Without it, it ends by itself. */
  readonly until?: RegExp;
  /** Done before it is asked to stop. */
  readonly then?: () => Promise<unknown>;
}

/** Answers with the exit code of a run, and all that it wrote. */
export async function runUnderSet({ set, entry, args = [], env, until, then }: Run) {
  const command = ["run", "-q", "--no-prompt", `-P=${set}`, entry, ...args];
  const child = denoCommand(command, { env: { LOG_LEVEL: "debug", ...env } }).spawn();
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
