// A child process: what it may do, how it is started, how its output is printed, and that it is started again.

import { brokerUrls } from "../../shared/broker/connection.ts";
import { SUPERVISED_VARIABLE, VARIABLES } from "../../shared/process/config.ts";
import { databaseAddresses } from "../../shared/process/database_url.ts";
import { EXIT_CONFIG } from "../../shared/process/run.ts";
import { pause, signalChild } from "../../shared/process/stop.ts";
import { API, BROKER, BROKER_PORT_VARIABLE, type ProcessSpec, ROOT } from "./processes.ts";

const LOCAL = "127.0.0.1";

export type Environment = Readonly<Record<string, string>>;

/** What Deno itself reads, to find its caches, certificates and telemetry settings. */
const RUNTIME = /^(PATH|HOME|XDG_CACHE_HOME|TMPDIR|NO_COLOR|FORCE_COLOR|DENO_.*|OTEL_.*)$/;

/**
 * The environment of a child: of `inherited` only OrderFlow's own variables and what Deno reads, then `set` over it.
 * Lines are for people, unless `LOG_FORMAT` says otherwise.
 */
export function childEnvironment(inherited: Environment, set: Environment): Record<string, string> {
  const kept = Object.entries(inherited)
    .filter(([name, value]) => (name in VARIABLES || RUNTIME.test(name)) && value !== "");
  return { LOG_FORMAT: "pretty", ...Object.fromEntries(kept), ...set, [SUPERVISED_VARIABLE]: "1" };
}

/** The addresses that an `AMQP_URL` names, as `host:port`; without a port, the one of its protocol. */
export function brokerAddresses(amqpUrl: string): string[] {
  return brokerUrls(amqpUrl).map((url) => {
    const { protocol, hostname, port } = new URL(url);
    return `${hostname}:${port || (protocol === "amqps:" ? 5671 : 5672)}`;
  });
}

/** Host and port as one address, an IPv6 one in brackets. */
export function joinAddress(host: string, port: number | string): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** All that a process with this environment has to connect to and to listen on, as `host:port`. */
export function addressesOf(spec: ProcessSpec, env: Environment): string[] {
  const { DATABASE_URL = "", AMQP_URL = "", HOST = LOCAL, PORT, METRICS_HOST = LOCAL, METRICS_PORT } = env;
  if (spec === BROKER) return [`${LOCAL}:${env[BROKER_PORT_VARIABLE]}`];
  const [host, port] = spec === API ? [HOST, PORT] : [METRICS_HOST, METRICS_PORT];
  const own = port ? [joinAddress(host, port)] : [];
  return [...databaseAddresses(DATABASE_URL), ...brokerAddresses(AMQP_URL), ...own];
}

/**
 * V8's heap. Its limit is 256 MiB instead of a share of the machine's memory, because V8 lets a heap grow the more before
 * it collects the higher the limit is; and where new objects are made has 8 MiB each half instead of 16. With a million
 * events waiting, the largest process takes 125 MiB instead of more than 200, at the same processor time for an order.
 * Halves of 2 MiB save 10 MiB more and cost a sixth.
 */
const HEAP = "--v8-flags=--max-semi-space-size=8,--max-old-space-size=256";

/**
 * The arguments of `deno` that run `spec` under its permission set, with a network of no more than `addresses`
 * (`host:port`, to connect to or to listen on). These replace the set's own list, which is for processes that people
 * start by themselves. The API reads the page from `bundle`, where that is not the set's folder.
 */
export function denoArguments(spec: ProcessSpec, addresses: readonly string[], bundle?: string): string[] {
  const options = ["-q", "--no-prompt", "--cached-only", HEAP, `-P=${spec.permissions}`];
  const read = bundle && spec === API ? [`--allow-read=${bundle}`] : [];
  return ["run", ...options, `--allow-net=${addresses}`, ...read, spec.entry];
}

export interface Child {
  readonly pid: number;
  /** Resolves once it has ended and all it wrote is printed. */
  readonly ended: Promise<Deno.CommandStatus>;
  /** Sends it a signal; none is sent to one that has ended. */
  signal(name: Deno.Signal): void;
}

/**
 * Starts `spec` under its permission set; `print` reads its standard output and error, which are dropped without it. Two
 * ways lead to its end: a signal, and the end of its standard input, which is open for as long as this process lives. It
 * has a session of its own, so that a terminal's Ctrl-C reaches the supervisor alone, which knows the order of stopping.
 * `env` is its whole environment, which also says what it may connect to and listen on; `flags` are more of Deno's own.
 */
export function startChild(
  spec: ProcessSpec,
  { env, flags = [], print }: {
    readonly env: Environment;
    readonly flags?: readonly string[];
    readonly print?: (output: ReadableStream<Uint8Array<ArrayBuffer>>) => Promise<void>;
  },
): Child {
  const output = print ? "piped" : "null";
  const child = new Deno.Command(Deno.execPath(), {
    args: denoArguments(spec, addressesOf(spec, env), env["UI_BUNDLE_DIR"]).toSpliced(1, 0, ...flags),
    cwd: ROOT,
    clearEnv: true,
    env: { ...env, OTEL_SERVICE_NAME: `orderflow-${spec.name}` }, // read by Deno, where `OTEL_DENO` is on
    detached: true,
    stdin: "piped",
    stdout: output,
    stderr: output,
  }).spawn();
  const printed = print ? [print(child.stdout), print(child.stderr)] : [];
  const ended = child.status.then(async (status) => {
    await Promise.all([...printed, child.stdin.close().catch(() => {})]);
    return status;
  });
  return { pid: child.pid, ended, signal: (name) => signalChild(child, name) };
}

/** Ends a process with `signal`, and with SIGKILL after `graceMs`. Resolves once it is gone. */
export async function endChild(
  child: Child,
  graceMs: number,
  signal: Deno.Signal = "SIGTERM",
): Promise<Deno.CommandStatus> {
  child.signal(signal);
  const timer = setTimeout(() => child.signal("SIGKILL"), graceMs);
  return await child.ended.finally(() => clearTimeout(timer));
}

/** A line that is longer, and has no end yet, is printed as far as it has come: it must not fill the memory. */
const MAX_LINE = 16_384;

/** The lines of a stream, those of each piece as it comes. */
async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string[]> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop() ?? "";
    if (rest.length > MAX_LINE) {
      lines.push(rest);
      rest = "";
    }
    yield lines;
  }
  if (rest !== "") yield [rest];
}

/** ANSI foreground colours: cyan, yellow, magenta, green, blue, and their bright ones. Red is for nobody. */
const COLOURS = [36, 33, 35, 32, 34, 96, 93, 95, 92, 94];

/**
 * Makes a printer on `write`, for lines of the processes `names`, each of which has its name in front. Lines are written
 * whole and in the order of the calls; each call resolves when its lines are written.
 */
export function createPrinter(
  names: readonly string[],
  coloured: boolean,
  write: (bytes: Uint8Array) => Promise<void>,
) {
  const width = Math.max(...names.map((name) => name.length));
  const encoder = new TextEncoder();
  let last = Promise.resolve();
  const print = (text: string) => last = last.then(() => write(encoder.encode(text)));
  const lines = (name: string, texts: readonly string[]) => {
    const colour = COLOURS[names.indexOf(name) % COLOURS.length];
    const front = `${name.padEnd(width)} | `;
    const prefix = coloured ? `\x1b[${colour}m${front}\x1b[0m` : front;
    return print(texts.map((text) => `${prefix}${text}\n`).join(""));
  };
  return {
    line: (name: string, text: string) => lines(name, text.split("\n")),
    block: (text: string) => print(`${text}\n`),
    flush: () => last,
    /** Prints what `stream` brings, line by line, until it ends. It is read no faster than it can be written. */
    async stream(name: string, stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
      for await (const texts of linesOf(stream)) await lines(name, texts);
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

const MIN_DELAY_MS = 200;
const MAX_DELAY_MS = 5000;
/** A process that ran this long was well: its next crash is a first one. */
const HEALTHY_MS = 10_000;

/** How long to wait before the next start, in milliseconds: 200, 400, 800, … 5,000 after `failures` ends in a row. */
export function restartDelayMs(failures: number): number {
  return Math.min(MIN_DELAY_MS * 2 ** (failures - 1), MAX_DELAY_MS);
}

export type KeptProcess = ReturnType<typeof keepRunning>;

/**
 * Starts a process and keeps it running until it is stopped or killed. `say` is told of each end that nobody asked for, and
 * of each start but the first one. One that says that its configuration is wrong is not started again.
 */
export function keepRunning(
  start: () => Child,
  say: (what: string) => void,
  onWrongConfiguration: () => void,
) {
  const stopping = new AbortController();
  let skipPause = new AbortController();
  let child = start();
  const running = run();

  async function run(): Promise<void> {
    for (let failures = 0;;) {
      const startedAt = performance.now();
      const { code, signal } = await child.ended;
      if (stopping.signal.aborted) return;
      if (skipPause.signal.aborted) failures = 0;
      else if (code === EXIT_CONFIG) return onWrongConfiguration();
      else {
        failures = performance.now() - startedAt >= HEALTHY_MS ? 1 : failures + 1;
        const delayMs = restartDelayMs(failures);
        const how = signal ? `was ended by ${signal}` : `ended with code ${code}`;
        say(`${how}; starting it again in ${delayMs / 1000} s`);
        await pause(delayMs, AbortSignal.any([stopping.signal, skipPause.signal]));
        if (stopping.signal.aborted) return;
      }
      skipPause = new AbortController();
      child = start();
      say(`started again (process ${child.pid})`);
    }
  }

  return {
    /** The id of the process that runs now, or ran last. */
    get pid(): number {
      return child.pid;
    },
    /** Ends the process, killing it after `graceMs`, and starts it again at once. */
    async restart(graceMs: number): Promise<void> {
      skipPause.abort();
      await endChild(child, graceMs);
    },
    /** Ends it: SIGTERM, and SIGKILL after `graceMs`. Resolves once it is gone. May be called again. */
    async stop(graceMs: number): Promise<void> {
      stopping.abort();
      await endChild(child, graceMs);
      await running;
    },
    kill(): void {
      stopping.abort();
      child.signal("SIGKILL");
    },
  };
}
