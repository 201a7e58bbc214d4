/**
 * One real process of the system, under its own permission set.
 *
 * @module
 */
import { configure, getJsonLinesFormatter, getLogger, type LogRecord, reset } from "@logtape/logtape";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ConfigError, type VariableName } from "../../shared/process/config.ts";
import "../../shared/process/metrics.ts"; // its package opens a channel when it is loaded: in a test that is a leak
import { EXIT_CONFIG, type ProcessScript, readProcessConfig, runWork } from "../../shared/process/run.ts";
import { signalChild, withTimeout } from "../../shared/process/stop.ts";
import { denoArguments } from "../../workers/dev/child.ts";
import type { ProcessSpec } from "../../workers/dev/processes.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** How long a process may take to stop, in milliseconds, before it is killed. */
const STOP_MS = 5000;

/** What a process is started with. */
export interface TestProcessOptions {
  /** All that it may connect to or listen on, as `host:port`. */
  readonly addresses: readonly string[];
  /** Its whole environment. */
  readonly env: Record<string, string>;
  /** A folder for what it writes, in a file of its name; else it is dropped, or shown with `ORDERFLOW_TEST_LOGS`. */
  readonly logs?: string | undefined;
}

/** A process that was started. */
export interface TestProcess {
  /** Its process id. */
  readonly pid: number;
  /** Resolves once it has ended, by itself or not, and all that it wrote is kept. */
  readonly ended: Promise<Deno.CommandStatus>;
  /** Sends it a signal, and SIGKILL if it has not ended after 5 s; resolves with its exit code. */
  end(signal: Deno.Signal): Promise<number>;
}

/** Starts a process. */
export function startTestProcess(
  spec: ProcessSpec,
  { addresses, env, logs }: TestProcessOptions,
): TestProcess {
  const output = logs ? "piped" : Deno.env.get("ORDERFLOW_TEST_LOGS") ? "inherit" : "null";
  const child = new Deno.Command(Deno.execPath(), {
    args: denoArguments(spec, addresses),
    cwd: root,
    clearEnv: true,
    env,
    stdin: "piped",
    stdout: output,
    stderr: output,
  }).spawn();
  const written = logs
    ? [child.stdout, child.stderr].map((from) => append(from, join(logs, `${spec.name}.log`)))
    : [];
  const ended = child.status.then(async (status) => {
    await Promise.all([...written, child.stdin.close().catch(() => {})]);
    return status;
  });
  return {
    pid: child.pid,
    ended,
    async end(signal) {
      signalChild(child, signal);
      await withTimeout(STOP_MS, child.status);
      signalChild(child, "SIGKILL");
      return (await ended).code;
    },
  };
}

/** Starts the work of a process in this one, under `env` alone. It cannot be killed. */
export function startInside(spec: ProcessSpec, env: Readonly<Record<string, string>>): TestProcess {
  const controller = new AbortController();
  const log = getLogger(["orderflow", spec.name]);
  const work = async () => {
    const { script }: { script: ProcessScript } = await import(`../../${spec.entry}`);
    const config = readProcessConfig(script, (name) => env[name]);
    await runWork<VariableName>(script, { config, log, stop: controller.signal });
  };
  const ended = work().then(() => 0, (error) => {
    log.fatal("Cannot go on", { error });
    return error instanceof ConfigError ? EXIT_CONFIG : 1;
  }).then((code) => ({ code, success: code === 0, signal: null }));
  return {
    pid: Deno.pid,
    ended,
    async end(signal) {
      if (signal === "SIGKILL") {
        throw new Error(`${spec.name} runs in the test's own process: start it apart`);
      }
      controller.abort();
      const status = await withTimeout(STOP_MS, ended);
      if (!status) throw new Error(`${spec.name} did not stop within ${STOP_MS} ms`);
      return status.code;
    },
  };
}

/** Has what runs inside write its log as processes do, into a file of `folder` for each, or out. Disposing ends that. */
export async function logInto(folder: string | undefined): Promise<AsyncDisposable> {
  const format = getJsonLinesFormatter({ properties: "flatten", categorySeparator: "." });
  const sink = (record: LogRecord) => {
    if (!folder) Deno.stdout.writeSync(new TextEncoder().encode(format(record)));
    else Deno.writeTextFileSync(join(folder, `${record.category[1]}.log`), format(record), { append: true });
  };
  await configure({
    reset: true,
    sinks: { sink },
    loggers: [
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: [] },
      { category: ["orderflow"], lowestLevel: "info", sinks: ["sink"] },
    ],
  });
  return { [Symbol.asyncDispose]: reset };
}

async function append(from: ReadableStream<Uint8Array>, path: string): Promise<void> {
  using file = await Deno.open(path, { append: true, create: true });
  for await (const chunk of from) { // not pipeTo(file.writable), which writes nothing before the stream ends
    for (let at = 0; at < chunk.length;) at += await file.write(chunk.subarray(at));
  }
}
