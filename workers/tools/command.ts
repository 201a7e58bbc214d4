/**
 * What the tasks of the command line share: exit codes, flags, durations, progress, tables.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { z } from "zod";
import { ConfigError } from "../../shared/process/config.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { EXIT_CONFIG } from "../../shared/process/run.ts";

/** It was done, and there is nothing to see to. */
export const EXIT_DONE = 0;
/** It could not be done, or was cancelled: the API or a service is away, or refuses. Standard error says why. */
export const EXIT_NOT_DONE = 1;
/** It was done, and has found what somebody should see to. */
export const EXIT_FOUND = 2;
/** It was called wrongly, and nothing was done (EX_USAGE of sysexits.h). */
const EXIT_USAGE = 64;

const UNITS = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]] as const;

/** Seconds in their two largest units, such as `34 s`, `3 min 4 s` or `2 d`; what is below a second is cut off. */
export function duration(seconds: number): string {
  let left = Math.max(Math.floor(seconds), 0);
  const first = UNITS.findIndex(([, size]) => left >= size);
  const parts = UNITS.slice(first < 0 ? -1 : first).slice(0, 2).map(([unit, size]) => {
    const count = Math.floor(left / size);
    left -= count * size;
    return { count, text: `${count} ${unit}` };
  });
  return parts.filter(({ count }, i) => i === 0 || count > 0).map(({ text }) => text).join(" ");
}

/** A number with the word for so many: `1 message`, `2 messages`. */
export function countOf(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** A task was called wrongly; the message says in one line which flag is at fault, and what it takes. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** A flag that is given or not, such as `--json`. All others take a value. */
export const onOff: z.ZodType<boolean> = z.boolean().default(false);

/** A flag that takes a text, which is not empty. */
export const text: z.ZodType<string> = z.string().min(1, { error: "must not be empty" });

/** A flag that takes a whole number from `min` to `max`, both included. */
export function wholeNumber(min: number, max: number): z.ZodType<number> {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.string().regex(/^\d{1,10}$/, { error }).transform(Number)
    .refine((value) => value >= min && value <= max, { error });
}

/** A flag that says where the API is; the URL that comes of it has no slash at its end. */
export const apiUrl: z.ZodType<string> = z.string()
  .refine((value) => /^https?:\/\/[^/]/.test(value) && URL.canParse(value), {
    error: "takes a URL such as http://127.0.0.1:8000",
  })
  .transform((value) => value.replace(/\/+$/, "")).default("http://127.0.0.1:8000");

/** What a task takes: the schema of each flag's value by the flag's name. */
export type Flags = Readonly<Record<string, z.ZodType<unknown>>>;
/** The values that `F` makes of what was given. */
export type FlagValues<F extends Flags> = { readonly [K in keyof F]: z.infer<F[K]> };

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
      return [name, { type: schema === onOff ? "boolean" : "string" }] as const;
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
    if (token.kind === "option") checkOption(token, options[token.name]?.type);
  }
  if (!takesRest && positionals.length > 0) {
    throw new UsageError(`${JSON.stringify(positionals[0])} is no flag, and nothing else is taken`);
  }
  const checked = Object.entries(flags).map(([name, schema]) => [name, check(name, schema, values[name])]);
  return { flags: Object.fromEntries(checked) as FlagValues<F>, rest: positionals };
}

interface Option {
  readonly rawName: string;
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}

function checkOption({ rawName, value, inlineValue }: Option, type: "boolean" | "string" | undefined): void {
  if (type === undefined) throw new UsageError(`There is no flag ${rawName}`);
  if (type === "boolean" && inlineValue) throw new UsageError(`${rawName} takes no value`);
  const isFlag = !inlineValue && value?.startsWith("--");
  if (type === "string" && (value === undefined || isFlag)) throw new UsageError(`${rawName} takes a value`);
}

function check(name: string, schema: z.ZodType<unknown>, value: unknown): unknown {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UsageError(`--${name} ${issue?.message ?? "is not valid"}, not ${JSON.stringify(value)}`);
}

/** How far work is: `done` of `total` things, whose name is a plural; null where nobody knows how many there are. */
interface HowFar {
  readonly unit: string;
  readonly done: number;
  readonly total: number | null;
  readonly elapsedMs: number;
}

/** Where the line goes. */
interface Screen {
  /** Whether it can be drawn over. */
  readonly isTerminal: boolean;
  /** How many characters a line of it has now. */
  columns(): number;
  write(text: string): void;
}

/** The line of some work; disposing of it takes it away, so that the result can follow. */
interface Progress extends Disposable {
  /** Says how far it is now; may be called as often as one likes. */
  at(done: number): void;
  /** Prints a line of its own, above. */
  say(line: string): void;
}

const BAR_WIDTH = 30;
/** Before that a rate says nothing. */
const RATE_AFTER_MS = 1000;
const REDRAW_MS = 100;
const PLAIN_LINE_MS = 5000;

/** A line such as `[###---]  50 %  100 of 200 orders, 25/s, 4 s left`; work of nothing is complete. Pure. */
export function progressText({ unit, done, total, elapsedMs }: HowFar): string {
  const rate = elapsedMs >= RATE_AFTER_MS ? done * 1000 / elapsedMs : 0;
  const speed = rate >= 0.1 ? `, ${rate.toFixed(rate < 10 ? 1 : 0)}/s` : "";
  if (total === null) return `${done} ${unit}${speed}`;
  const share = total === 0 ? 1 : Math.min(done / total, 1);
  const full = Math.floor(share * BAR_WIDTH);
  const percent = String(Math.floor(share * 100)).padStart(3);
  const left = rate > 0 && done < total ? `, ${duration((total - done) / rate)} left` : "";
  const bar = `[${"#".repeat(full)}${"-".repeat(BAR_WIDTH - full)}]`;
  return `${bar} ${percent} %  ${done} of ${total} ${unit}${speed}${left}`;
}

/**
 * Starts the line of some work, which is at 0 of `total`. On a terminal it is drawn ten times a second at most and never
 * wraps; elsewhere a line is printed every five seconds, so short work prints none.
 */
export function startProgress(
  unit: string,
  total: number | null,
  screen: Screen = standardError(),
  now: () => number = () => performance.now(),
): Progress {
  const startedMs = now();
  let done = 0;
  let shown = false;
  let shownMs = startedMs - (screen.isTerminal ? REDRAW_MS : 0);

  function show(): void {
    shownMs = now();
    const line = progressText({ unit, done, total, elapsedMs: shownMs - startedMs });
    if (screen.isTerminal) screen.write(`\r${line.slice(0, Math.max(screen.columns() - 1, 0))}\x1b[K`);
    else screen.write(`${line}\n`);
    shown = true;
  }

  const clear = () => screen.isTerminal && shown ? "\r\x1b[K" : "";
  return {
    at(next) {
      done = next;
      if (now() - shownMs >= (screen.isTerminal ? REDRAW_MS : PLAIN_LINE_MS)) show();
    },
    say(line) {
      screen.write(`${clear()}${line}\n`);
      if (screen.isTerminal && shown) show();
    },
    [Symbol.dispose]() {
      if (clear()) screen.write(clear());
      shown = false;
    },
  };
}

function standardError(): Screen {
  const encoder = new TextEncoder();
  return {
    isTerminal: Deno.stderr.isTerminal(),
    columns: () => Deno.consoleSize().columns,
    write: (text) => void Deno.stderr.writeSync(encoder.encode(text)),
  };
}

/** A column of a table whose rows are made from `R`. */
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

/**
 * The table's lines, the heads first, each at most `maxWidth` characters long. Where that is too long, columns are left
 * away one by one; what is still too long is cut, and ends in `…`.
 */
export function tableLines<R>(
  rows: readonly R[],
  columns: readonly Column<R>[],
  maxWidth = Infinity,
): string[] {
  const cells = columns.map(({ head, cell }) => [...head === undefined ? [] : [head], ...rows.map(cell)]);
  const widths = cells.map((column) => Math.max(0, ...column.map((text) => text.length)));
  const width = widths.reduce((sum, each) => sum + each + GAP.length, -GAP.length);
  const [least] = columns.filter(({ leaveAway }) => leaveAway !== undefined)
    .toSorted((a, b) => (b.leaveAway ?? 0) - (a.leaveAway ?? 0));
  if (width > maxWidth && least) return tableLines(rows, columns.filter((each) => each !== least), maxWidth);
  const padded = cells.map((column, i) =>
    column.map((text) => columns[i]?.isFigure ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0))
  );
  const lines = (padded[0] ?? []).map((_, row) => padded.map((column) => column[row]).join(GAP).trimEnd());
  return lines.map((line) => cut(line, maxWidth));
}

/** The text, at most `columns` characters of it; what was cut ends in `…`. */
export function cut(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(columns - 1, 0))}…`;
}

/** A task of the command line. */
interface Command<O> {
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
