/**
 * The output of many processes on one terminal: whole lines, each with the name of who wrote it.
 *
 * @module
 */

/** A longer line is printed in pieces of this many characters: what has no end must not fill the memory. */
const MAX_LINE = 16_384;

/** Cuts a text that arrives in pieces into lines. */
export interface LineSplitter {
  /** Takes a piece; answers with the lines that it completes. */
  push(piece: string): string[];
  /** What is left without a line end. */
  rest(): string[];
}

/** Makes a splitter; a line of more than `maxLength` characters comes in pieces of at most that. */
export function createLineSplitter(maxLength: number = MAX_LINE): LineSplitter {
  let rest = "";
  return {
    push(piece) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop() ?? "";
      const whole = lines.flatMap((line) => pieces(line.replace(/\r$/, ""), maxLength));
      if (rest.length <= maxLength) return whole;
      const parts = pieces(rest, maxLength);
      rest = parts.pop() ?? "";
      return [...whole, ...parts];
    },
    rest() {
      const last = rest === "" ? [] : [rest];
      rest = "";
      return last;
    },
  };
}

function pieces(line: string, maxLength: number): string[] {
  const count = Math.max(1, Math.ceil(line.length / maxLength));
  return Array.from({ length: count }, (_, i) => line.slice(i * maxLength, (i + 1) * maxLength));
}

/** ANSI foreground colours: cyan, yellow, magenta, green, blue, and their bright ones. Red is for nobody. */
const COLOURS = [36, 33, 35, 32, 34, 96, 93, 95, 92, 94];

/** Gives each of `names` the text in front of its lines: padded to the longest, in a colour of its own. */
export function prefixes(names: readonly string[], coloured: boolean): (name: string) => string {
  const width = Math.max(...names.map((name) => name.length));
  return (name) => {
    const text = `${name.padEnd(width)} | `;
    const colour = COLOURS[Math.max(0, names.indexOf(name)) % COLOURS.length];
    return coloured ? `\x1b[${colour}m${text}\x1b[0m` : text;
  };
}

/** Prints whole lines in the order of the calls. */
export interface Printer {
  /** Prints one line in the name of a process; resolves when it is written. */
  line(name: string, text: string): Promise<void>;
  /** Prints a text as it is. */
  block(text: string): Promise<void>;
  /** Prints what `stream` brings, line by line, until it ends. It is read no faster than it can be written. */
  stream(name: string, stream: ReadableStream<Uint8Array>): Promise<void>;
  /** Resolves once everything printed so far is written. */
  flush(): Promise<void>;
}

/** Makes a printer on `write`, for lines of the processes `names`. */
export function createPrinter(
  names: readonly string[],
  coloured: boolean,
  write: (bytes: Uint8Array) => Promise<void>,
): Printer {
  const prefix = prefixes(names, coloured);
  const encoder = new TextEncoder();
  let last = Promise.resolve();
  const print = (text: string) => last = last.then(() => write(encoder.encode(text)));
  const lines = (name: string, texts: readonly string[]) =>
    texts.length === 0 ? last : print(texts.map((text) => `${prefix(name)}${text}\n`).join(""));
  return {
    line: (name, text) => lines(name, text.split("\n")),
    block: (text) => print(`${text}\n`),
    flush: () => last,
    async stream(name, stream) {
      const splitter = createLineSplitter();
      const decoder = new TextDecoder();
      for await (const bytes of stream) {
        await lines(name, splitter.push(decoder.decode(bytes, { stream: true })));
      }
      await lines(name, splitter.rest());
    },
  };
}

const FULL_PAUSE_MS = 5;

/** Writes to standard output. A reader that is slow is waited for; one that is gone is no reason to stop. */
export async function writeToStdout(bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    try {
      at += await Deno.stdout.write(bytes.subarray(at));
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) return;
      await new Promise((resolve) => setTimeout(resolve, FULL_PAUSE_MS)); // a pipe that its owner made non-blocking
    }
  }
}
