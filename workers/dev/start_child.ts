/**
 * Starts a child process.
 *
 * @module
 */
import { signalChild } from "../../shared/signal_child.ts";
import { denoArguments, type Environment } from "./child_command.ts";
import type { Child } from "./keep_running.ts";
import type { Printer } from "./print_lines.ts";
import type { ProcessSpec } from "./processes.ts";

/** What a child is started with. */
export interface ChildOptions {
  /** The project's root, where deno.json is. */
  readonly root: string;
  /** Its whole environment. */
  readonly env: Environment;
  /** All that it may connect to or listen on, as `host:port`. */
  readonly addresses: readonly string[];
  /** Prints what it writes. */
  readonly printer: Printer;
}

/**
 * Starts `spec` under its permission set and prints its lines. Two ways lead to its end: a signal, and the end of its
 * standard input, which is open for as long as this process lives. It has a session of its own, so that a terminal's
 * Ctrl-C reaches the supervisor alone, which knows the order of stopping.
 */
export function startChild(spec: ProcessSpec, options: ChildOptions): Child {
  const child = new Deno.Command(Deno.execPath(), {
    args: denoArguments(spec, options.addresses),
    cwd: options.root,
    clearEnv: true,
    env: { ...options.env },
    detached: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const printed = [child.stdout, child.stderr].map((stream) => options.printer.stream(spec.name, stream));
  const ended = child.status.then(async (status) => {
    await Promise.all([...printed, child.stdin.close().catch(() => {})]);
    return status;
  });
  return {
    pid: child.pid,
    ended,
    signal: (name) => signalChild(child, name),
  };
}
