/**
 * What every task of the command line does around its work: flags, help, errors, exit code.
 *
 * @module
 */
import { ConfigError } from "../config.ts";
import { messageOf } from "../errors.ts";
import { EXIT_CONFIG } from "../process.ts";
import { EXIT_DONE, EXIT_NOT_DONE, EXIT_USAGE } from "./exit_codes.ts";
import { UsageError } from "./flags.ts";

/** A task of the command line. */
export interface Command<O> {
  /** Its name, as in `deno task <name>`. */
  readonly task: string;
  /** What `--help` prints: what it does, its flags with their defaults, its exit codes, an example. */
  readonly usage: string;
  /** Reads its arguments; null for `--help`. Errors: `UsageError`. */
  readonly read: (args: readonly string[]) => O | null;
  /** Does its work, and answers with the exit code. */
  readonly run: (options: O) => Promise<number>;
}

/**
 * Runs a task, and answers with its exit code. What the task throws is told on standard error in its message alone: a
 * `UsageError` is 64, a `ConfigError` 78, anything else 1.
 */
export async function runCommand<O>(command: Command<O>, args: readonly string[]): Promise<number> {
  try {
    const options = command.read(args);
    if (options !== null) return await command.run(options);
    console.log(command.usage);
    return EXIT_DONE;
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`${error.message} (deno task ${command.task} --help says more)`);
      return EXIT_USAGE;
    }
    console.error(messageOf(error));
    return error instanceof ConfigError ? EXIT_CONFIG : EXIT_NOT_DONE;
  }
}
