/**
 * Runs `deno task dev` for a test: in a folder and, where services are given, under names of its own.
 *
 * @module
 */
import { join } from "node:path";
import { z } from "zod";
import { eventually } from "../../../specs/support/eventually.ts";
import { readOutput } from "../../../specs/support/read_output.ts";
import { testBroker } from "../../../specs/support/test_broker.ts";
import { takeStackSlot, testDatabase } from "../../../specs/support/test_postgres.ts";
import { removePostgres } from "../../../shared/embedded/postgres.ts";
import { signalChild } from "../../../shared/process/stop.ts";

const ROOT = join(import.meta.dirname ?? "", "../../..");
/** How long a whole system may take to start, or an order to complete, on a machine that runs other tests as well. */
export const PATIENCE_MS = 60_000;

/** Where a test's runs live: the folder that they use, and variables that keep them apart. Disposing deletes all of it. */
export interface DevHome extends AsyncDisposable {
  readonly folder: string;
  readonly env: Record<string, string>;
}

/** Makes a home: services are embedded, or those of `DATABASE_URL` and `AMQP_URL` with a database and names of its own. */
export async function devHome(): Promise<DevHome> {
  await using resources = new AsyncDisposableStack();
  resources.use(await takeStackSlot());
  const folder = await Deno.makeTempDir({ prefix: "orderflow_dev_test_" });
  resources.defer(async () => {
    await removePostgres(join(folder, "postgres"));
    await Deno.remove(folder, { recursive: true });
  });
  await Deno.chmod(folder, 0o711); // root's Postgres runs under another account, which must pass through
  const env: Record<string, string> = { ORDERFLOW_HOME: folder, PORT: "0", NO_COLOR: "1" };
  if (Deno.env.get("DATABASE_URL")) env.DATABASE_URL = resources.use(await testDatabase()).url;
  if (Deno.env.get("AMQP_URL")) Object.assign(env, resources.use(await testBroker()).env);
  const owned = resources.move();
  return { folder, env, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** A run of the supervisor. */
export type DevRun = ReturnType<typeof startDev>;

/** Starts the supervisor in `home`. Disposing of it kills it, if it still runs. */
export function startDev(home: DevHome, env: Record<string, string> = {}) {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "--no-prompt", "-P=dev", "workers/dev/main.ts"],
    cwd: ROOT,
    env: { ...home.env, ...env },
    detached: true, // a group of its own, for a terminal's Ctrl-C to reach
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let code: number | null = null;
  const output = readOutput(process.stdout, process.stderr);
  const over = Promise.all([process.status, output.ended]).then(([status]) => code = status.code);
  return {
    process,
    /** All that it has printed. */
    output: output.text,
    /** Resolves with the match once it has printed what matches; fails after a minute, or when it ends before. */
    async printed(pattern: RegExp): Promise<RegExpExecArray> {
      const seen = () => pattern.test(output.text()) || code !== null || null;
      await eventually(`${pattern}`, seen, PATIENCE_MS).catch(() => {});
      const match = pattern.exec(output.text());
      if (!match) throw new Error(`it has not printed ${pattern}:\n${output.text()}`);
      return match;
    },
    /** Resolves with the exit code once it has ended; fails after half a minute. */
    async ended(): Promise<number> {
      return (await eventually(`the end of ${output.text()}`, () => code === null ? null : { code }, 30_000))
        .code;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      signalChild(process, "SIGKILL");
      await over;
    },
  };
}

/** Name and process id of each process, out of the banner. */
export function processesIn(output: string): Map<string, number> {
  const [, block = ""] = /^ {2}Processes ([^]*?)\n\n/m.exec(output) ?? [];
  return new Map([...block.matchAll(/([a-z-]+) (\d+)/g)].map(([, name = "", pid]) => [name, Number(pid)]));
}

const orderSchema = z.object({ id: z.string(), status: z.string() });

/** The status of an order. */
export async function orderStatus(apiUrl: string, id: string): Promise<string> {
  return orderSchema.parse(await (await fetch(`${apiUrl}/orders/${id}`)).json()).status;
}

/** Orders a course that has a seat, and resolves once the order is `COMPLETED`. Answers with its id. */
export async function orderCompletes(apiUrl: string): Promise<string> {
  const placed = await fetch(`${apiUrl}/ops/scenarios/order-success`, { method: "POST" });
  const { id } = orderSchema.parse(await placed.json());
  await eventually(`order ${id}`, async () => await orderStatus(apiUrl, id) === "COMPLETED", PATIENCE_MS);
  return id;
}

const succeeds = async (script: string, pid: number) =>
  (await new Deno.Command("/bin/sh", { args: ["-c", script, "sh", `${pid}`] }).output()).success;

/** Whether a process runs; one that has ended and that nobody has asked about does not. */
export function isRunning(pid: number): Promise<boolean> {
  return succeeds('kill -0 "$1" 2>/dev/null && ! grep -qs ") Z " "/proc/$1/stat"', pid);
}

/** Stops a process in its tracks, so that it answers no signal but SIGKILL; resolves once that is so. */
export async function freeze(pid: number): Promise<void> {
  Deno.kill(pid, "SIGSTOP");
  const isStopped = 'grep -qs ") T " "/proc/$1/stat" || ps -o stat= -p "$1" 2>/dev/null | grep -q T';
  await eventually(`process ${pid} is stopped`, () => succeeds(isStopped, pid));
}
