/**
 * Runs a task of `deno.json` as people do: its script under its permission set.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { z } from "zod";

const root = fileURLToPath(new URL("../..", import.meta.url));
const tasksSchema = z.object({ tasks: z.record(z.string(), z.object({ command: z.string() })) });

/** How a task is run. */
export interface TaskOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Addresses, as `host:port`, in the place of the set's own. */
  readonly net?: readonly string[];
}

/** What a task came to. */
export interface TaskResult {
  readonly code: number;
  readonly out: string;
  /** What it has said on standard error, but for how far long work was. */
  readonly err: string;
}

/** The task's own command with `args`, but without the files of variables. Its standard input is no terminal. */
export function taskCommand(
  task: string,
  args: readonly string[],
  { env = {}, net }: TaskOptions = {},
): Deno.Command {
  const { tasks } = tasksSchema.parse(JSON.parse(Deno.readTextFileSync(`${root}/deno.json`)));
  const line = tasks[task]?.command.replace(/^sh \S+ && /, "").replaceAll(/ --env-file=("[^"]*"|\S+)/g, "") ??
    "";
  const [deno, ...command] = line.split(" ");
  if (deno !== "deno") throw new Error(`The task ${task} of deno.json is not a command of deno alone`);
  if (net) command.splice(-1, 0, `--allow-net=${net}`);
  return new Deno.Command(Deno.execPath(), {
    args: [...command, ...args],
    cwd: root,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Runs a task to its end. */
export async function runTask(
  task: string,
  args: readonly string[],
  options: TaskOptions = {},
): Promise<TaskResult> {
  const { code, stdout, stderr } = await taskCommand(task, args, options).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: withoutProgress(text(stderr)) };
}

/** As `progressText` of `workers/tools/command.ts` begins. */
const PROGRESS_LINES = /^\[#*-*\] +\d+ % {2}.*\n/gm;

/** The text without lines of progress. */
export function withoutProgress(text: string): string {
  return text.replaceAll(PROGRESS_LINES, "");
}
