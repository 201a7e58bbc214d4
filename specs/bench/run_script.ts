/**
 * Runs a script of the benchmark in a process of its own, so that whoever measures is not who is measured.
 *
 * @module
 */
import type { z } from "zod";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The longest that a script may take, in milliseconds; no part of the benchmark takes half of it. */
const LIMIT_MS = 600_000;

/**
 * Runs `entry` (a path from the project's root) with `args`; answers with the JSON that it prints at its end.
 *
 * Errors: when it ends with another code than 0, with what it said; when its answer is not what `schema` asks for.
 */
export async function runScript<T>(
  entry: string,
  args: readonly string[],
  schema: z.ZodType<T>,
): Promise<T> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "--no-prompt", "--cached-only", "-P=bench-script", entry, ...args],
    cwd: root,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  const { success, code, stdout, stderr } = await command.output();
  const text = new TextDecoder();
  if (!success) throw new Error(`${entry} ended with ${code}: ${text.decode(stderr).trim()}`);
  return schema.parse(JSON.parse(text.decode(stdout)));
}

/** Flags of a script, as its arguments. */
export function flags(values: Readonly<Record<string, string | number>>): string[] {
  return Object.entries(values).map(([name, value]) => `--${name}=${value}`);
}
