// What the tasks of the command line share: exit codes, flags and their help, questions, progress, tables.

import { parseArgs } from "node:util";
import { z } from "zod";
import { ConfigError } from "../../shared/process/config.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { EXIT_CONFIG, EXIT_USAGE } from "../../shared/process/run.ts";
import { duration } from "../../shared/words.ts";
export { wholeNumber } from "../../shared/process/config.ts";

/** It was done, and there is nothing to see to. */
export const EXIT_DONE = 0;
/** It could not be done, or was cancelled: the API or a service is away, or refuses. Standard error says why. */
export const EXIT_NOT_DONE = 1;
/** It was done, and has found what somebody should see to. */
export const EXIT_FOUND = 2;

/** A task was called wrongly; the message says in one line which flag is at fault, and what it takes. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** A flag that is given or not, such as `--json`. All others take a value. */
export const onOff: z.ZodType<boolean> = z.boolean().default(false);

/** A flag that takes a text, which is not empty. */
export const text: z.ZodType<string> = z.string().min(1, { error: "must not be empty" });

/** `schema` with what `--help` says of the flag; `value` stands for what it takes, where there is no default to show. */
export function flag<T extends z.ZodType>(schema: T, about: string, value = "<text>"): T {
  return schema.meta({ description: about, title: value });
}

type Flags = Readonly<Record<string, z.ZodType<unknown>>>;
export type FlagValues<F extends Flags> = Readonly<z.infer<z.ZodObject<F>>>;

const isSwitch = (schema: z.ZodType<unknown>) => schema.safeParse(true).success;

/**
 * Reads `args`: `--flag=value` or `--flag value`. With `takesRest`, words that are no flags are kept. Null where `--help`
 * or `-h` is among them, whatever else is wrong.
 *
 * Errors: `UsageError`, which names the first flag at fault and what it takes.
 */
export function readFlags<F extends Flags>(
  args: readonly string[],
  flags: F,
  takesRest = false,
): { readonly flags: FlagValues<F>; readonly rest: readonly string[] } | null {
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, schema]) => {
      return [name, { type: isSwitch(schema) ? "boolean" : "string" }] as const;
    }),
  );
  const { values, positionals, tokens } = parseArgs({
    args: [...args],
    options: { ...options, help: { type: "boolean", short: "h" } },
    strict: false, // the messages are ours
    allowPositionals: true,
    tokens: true,
  });
  if (values.help) return null;
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName, value, inlineValue } = token;
    const type = options[name]?.type;
    if (type === undefined) throw new UsageError(`There is no flag ${rawName}`);
    if (type === "boolean" && inlineValue) throw new UsageError(`${rawName} takes no value`);
    const isMissing = value === undefined || !inlineValue && value.startsWith("--");
    if (type === "string" && isMissing) throw new UsageError(`${rawName} takes a value`);
  }
  if (!takesRest && positionals.length > 0) {
    throw new UsageError(`${JSON.stringify(positionals[0])} is no flag, and nothing else is taken`);
  }
  const { success, data, error } = z.object(flags).safeParse(values);
  if (success) return { flags: data, rest: positionals };
  const { path: [name], message } = error.issues[0] ?? { path: [], message: "are not valid" };
  throw new UsageError(`--${String(name)} ${message}, not ${JSON.stringify(values[String(name)])}`);
}

/** The flags of a task that asks before it does something, and can say what that would be. */
export const ASKING = {
  "dry-run": flag(onOff, "show what it would be, do nothing"),
  yes: flag(onOff, "do not ask before"),
  json: flag(onOff, "print one JSON object; progress goes to standard error"),
};

/** Errors: `UsageError` where somebody would have to be asked, and nobody can be. */
export function refuseUnasked({ "dry-run": dryRun, yes, json }: FlagValues<typeof ASKING>): void {
  if (dryRun || yes || !json && Deno.stdin.isTerminal()) return;
  throw new UsageError("There is nobody to ask: add --yes, or --dry-run to look only");
}

/** For `catch`: says what could not be done. A wrong configuration speaks for itself. */
export function cannot(action: string): (error: unknown) => never {
  return (error) => {
    if (error instanceof ConfigError) throw error;
    throw new Error(`Cannot ${action}: ${messageOf(error)}`, { cause: error });
  };
}

/** Whether to do what was shown: `--yes`, or somebody at the terminal says so. */
export function isWanted(yes: boolean, question: string): boolean {
  const wanted = yes || confirm(question);
  if (!wanted) console.error("Nothing has been done.");
  return wanted;
}

/** Prints a text or, with `--json`, the object that says all that the texts do. */
export function teller(json: boolean): (text: string, value?: object) => void {
  return (text, value) => {
    if (!json) console.log(text);
    else if (value) console.log(JSON.stringify(value));
  };
}

interface Task<F extends Flags> {
  readonly name: string;
  readonly about: string;
  readonly flags: F;
  /** Its flags under the heads of the help; all under `How:` by default. */
  readonly groups?: Readonly<Record<string, Flags>>;
  /** What else there is to say, and how it ends. */
  readonly ends: string;
  readonly example?: string;
  /** Whether it takes words that are no flags. */
  readonly takesRest?: boolean;
  readonly run: (flags: FlagValues<F>, rest: readonly string[]) => Promise<number>;
}

/**
 * Runs a task with the arguments of this process, which ends with it. What the task throws is told on standard error in
 * its message alone: a `UsageError` ends with 64, a `ConfigError` with 78, anything else with 1.
 */
export async function task<F extends Flags>(spec: Task<F>): Promise<never> {
  try {
    const given = readFlags(Deno.args, spec.flags, spec.takesRest);
    if (given) Deno.exit(await spec.run(given.flags, given.rest));
    console.log(usageOf(spec));
    Deno.exit(EXIT_DONE);
  } catch (error) {
    const isUsage = error instanceof UsageError;
    console.error(`${messageOf(error)}${isUsage ? ` (deno task ${spec.name} --help says more)` : ""}`);
    Deno.exit(isUsage ? EXIT_USAGE : error instanceof ConfigError ? EXIT_CONFIG : EXIT_NOT_DONE);
  }
}

/** What `--help` prints: what a task does, its flags in groups by their heads, how it ends, an example. */
function usageOf<F extends Flags>(
  { name, about, flags, groups = { "How:": flags }, ends, example = "" }: Task<F>,
): string {
  const line = (flag: string, about = "") => `  ${flag.padEnd(29)}${about}\n`;
  const lineOf = ([name, schema]: [string, z.ZodType<unknown>]) => {
    const value = schema.safeParse(undefined).data ?? schema.meta()?.title;
    return line(`--${name}${isSwitch(schema) ? "" : `=${value}`}`, schema.description);
  };
  const listed = Object.entries(groups)
    .map(([head, flags]) => `\n${head}\n${Object.entries(flags).map(lineOf).join("")}`);
  const called = `deno task ${name}`;
  return `${called}: ${about}\n${listed.join("")}${line("--help", "print this")}
${ends}

Example: ${`${called} ${example}`.trimEnd()}`;
}

/** Where the line goes: to a terminal, which can be drawn over and has so many columns now, or elsewhere. */
interface Screen {
  readonly isTerminal: boolean;
  columns(): number;
  write(text: string): void;
}

const BAR_WIDTH = 30;
/** Before that a rate says nothing. */
const RATE_AFTER_MS = 1000;
const REDRAW_MS = 100;
const PLAIN_LINE_MS = 5000;

/** A line such as `[###---]  50 %  100 of 200 orders, 25/s, 4 s left`; work of nothing is complete. Pure. */
export function progressText(unit: string, done: number, total: number, elapsedMs: number): string {
  const rate = elapsedMs >= RATE_AFTER_MS ? done * 1000 / elapsedMs : 0;
  const speed = rate >= 0.1 ? `, ${rate.toFixed(rate < 10 ? 1 : 0)}/s` : "";
  const share = total === 0 ? 1 : Math.min(done / total, 1);
  const bar = "#".repeat(Math.floor(share * BAR_WIDTH)).padEnd(BAR_WIDTH, "-");
  const percent = String(Math.floor(share * 100)).padStart(3);
  const left = rate > 0 && done < total ? `, ${duration(1000 * (total - done) / rate)} left` : "";
  return `[${bar}] ${percent} %  ${done} of ${total} ${unit}${speed}${left}`;
}

/**
 * Starts the line of some work, which is at 0 of `total`. On a terminal it is drawn ten times a second at most and never
 * wraps; elsewhere a line is printed every five seconds, so short work prints none. `at` says how far it is now, `say`
 * prints a line of its own above; disposing takes the line away, so that the result can follow.
 */
export function startProgress(
  unit: string,
  total: number,
  screen: Screen = standardError(),
  now: () => number = () => performance.now(),
) {
  const { isTerminal } = screen;
  const everyMs = isTerminal ? REDRAW_MS : PLAIN_LINE_MS;
  const clear = isTerminal ? "\r\x1b[K" : "";
  const startedMs = now();
  let [done, shownMs] = [0, startedMs];

  function show(): void {
    shownMs = now();
    const line = progressText(unit, done, total, shownMs - startedMs);
    screen.write(isTerminal ? `\r${line.slice(0, Math.max(screen.columns() - 1, 0))}\x1b[K` : `${line}\n`);
  }

  if (isTerminal) show();
  return {
    at(next: number): void {
      done = next;
      if (now() - shownMs >= everyMs) show();
    },
    say(line: string): void {
      screen.write(`${clear}${line}\n`);
      if (isTerminal) show();
    },
    [Symbol.dispose](): void {
      if (isTerminal) screen.write(clear);
    },
  };
}

function standardError(): Screen {
  return {
    isTerminal: Deno.stderr.isTerminal(),
    columns: () => Deno.consoleSize().columns,
    write: (text) => void Deno.stderr.writeSync(new TextEncoder().encode(text)),
  };
}

export interface Column<R> {
  /** What stands above it; a table whose columns have none has no line of heads. */
  readonly head?: string;
  readonly cell: (row: R) => string;
  /** Whether it holds figures, which stand to the right. */
  readonly isFigure?: boolean;
  /** Left away where there is no room, the highest first; without a number it stays. */
  readonly leaveAway?: number;
}

const GAP = "  ";
/** What is left at least of a last column that is cut. */
const LEAST_WIDTH = 20;

/**
 * The table's lines, the heads first, each at most `maxWidth` characters long. Where there is less room, columns are left
 * away one by one, and the last one is cut, and ends in `…`.
 */
export function tableLines<R>(
  rows: readonly R[],
  columns: readonly Column<R>[],
  maxWidth = Infinity,
): string[] {
  const cells = columns.map(({ head, cell }) => [...head === undefined ? [] : [head], ...rows.map(cell)]);
  const widths = cells.map((column) => Math.max(0, ...column.map((text) => text.length)));
  const least = widths.with(-1, Math.min(widths.at(-1) ?? 0, LEAST_WIDTH));
  const width = least.reduce((sum, each) => sum + each + GAP.length, -GAP.length);
  const [first] = columns.filter(({ leaveAway }) => leaveAway !== undefined)
    .toSorted((a, b) => (b.leaveAway ?? 0) - (a.leaveAway ?? 0));
  if (width > maxWidth && first) return tableLines(rows, columns.filter((each) => each !== first), maxWidth);
  const padded = cells.map((column, i) =>
    column.map((text) => columns[i]?.isFigure ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0))
  );
  return (padded[0] ?? []).map((_, row) => {
    return cut(padded.map((column) => column[row]).join(GAP).trimEnd(), maxWidth);
  });
}

/** Rows of a set that are shown. */
const SHOWN = 10;

/** The first rows of a set of `total`, by their `cells`, and how many more there are; `where` says where those are. */
export function listed<R>(
  rows: readonly R[],
  total: number,
  cells: readonly Column<R>["cell"][],
  where = "",
): string[] {
  const lines = tableLines(rows.slice(0, SHOWN), cells.map((cell) => ({ cell })));
  const more = total - lines.length;
  return [...lines, ...more > 0 ? [`and ${more} more${where}`] : []].map((line) => `  ${line}`);
}

/** The text, at most `columns` characters of it; what was cut ends in `…`. */
export function cut(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(columns - 1, 0))}…`;
}
