/**
 * Runs `deno task dev` for a test: in a folder and, where services are given, under names of its own.
 *
 * @module
 */
import { connect } from "amqplib";
import { join } from "node:path";
import { z } from "zod";
import { takeStackSlot } from "../../../specs/support/stack_slot.ts";
import { testDatabase } from "../../../specs/support/test_postgres.ts";
import { QUEUES } from "../../../shared/topology.ts";
import { removePostgres } from "../../../shared/embedded/postgres.ts";
import { signalChild } from "../../../shared/process/stop.ts";
import { readOutput } from "../../../specs/support/read_output.ts";

const ROOT = join(import.meta.dirname ?? "", "../../..");

/** Where a test's runs live. Disposing of it deletes all that they left. */
export interface DevHome extends AsyncDisposable {
  /** The folder that the runs use instead of `.orderflow`. */
  readonly folder: string;
  /** Variables that keep the runs apart from everything else. */
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
  const amqpUrl = Deno.env.get("AMQP_URL");
  if (Deno.env.get("DATABASE_URL")) env.DATABASE_URL = resources.use(await testDatabase()).url;
  if (amqpUrl) {
    Object.assign(env, { AMQP_URL: amqpUrl }, ownNames());
    resources.defer(() => deleteTopology(amqpUrl, env));
  }
  const owned = resources.move();
  return { folder, env, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function ownNames(): Record<string, string> {
  const prefix = `test.${crypto.randomUUID()}`;
  const queues = Object.values(QUEUES).map(({ env, name }) => [env, `${prefix}.${name}`]);
  return { RABBITMQ_EXCHANGE: `${prefix}.events`, ...Object.fromEntries(queues) };
}

async function deleteTopology(url: string, names: Record<string, string>): Promise<void> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  for (const { env } of Object.values(QUEUES)) await channel.deleteQueue(names[env] ?? "");
  await channel.deleteExchange(names.RABBITMQ_EXCHANGE ?? "");
  await connection.close();
}

/** A run of the supervisor. */
export interface DevRun extends AsyncDisposable {
  /** The supervisor's process. */
  readonly process: Deno.ChildProcess;
  /** All that it has printed. */
  output(): string;
  /** Resolves with the match once it has printed what matches; fails after 60 s, or when it ends before. */
  printed(pattern: RegExp): Promise<RegExpExecArray>;
  /** Resolves with the exit code once it has ended; fails after 30 s. */
  ended(): Promise<number>;
}

/** Starts the supervisor in `home`. Disposing of it kills it, if it still runs. */
export function startDev(home: DevHome, env: Record<string, string> = {}): DevRun {
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
  const over = Promise.all([process.status, output.ended])
    .then(([status]) => code = status.code);
  return {
    process,
    output: output.text,
    async printed(pattern) {
      await eventually(
        () => pattern.test(output.text()) || code !== null,
        `it prints ${pattern}:\n`,
        output.text,
      );
      const match = pattern.exec(output.text());
      if (!match) throw new Error(`it ended without printing ${pattern}:\n${output.text()}`);
      return match;
    },
    async ended() {
      await eventually(() => code !== null, "it ends:\n", output.text, 30_000);
      return code ?? -1;
    },
    async [Symbol.asyncDispose]() {
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

/** Orders a course that has a seat, and resolves once the order is `COMPLETED`; fails after 60 s. Answers with its id. */
export async function orderCompletes(apiUrl: string): Promise<string> {
  const placed = await fetch(`${apiUrl}/ops/scenarios/order-success`, { method: "POST" });
  const { id } = orderSchema.parse(await placed.json());
  await eventually(async () => await orderStatus(apiUrl, id) === "COMPLETED", `order ${id} is completed`);
  return id;
}

/** The status of an order. */
export async function orderStatus(apiUrl: string, id: string): Promise<string> {
  return orderSchema.parse(await (await fetch(`${apiUrl}/orders/${id}`)).json()).status;
}

/** Whether a process runs; one that has ended and that nobody has asked about does not. */
export async function isRunning(pid: number): Promise<boolean> {
  const script = 'kill -0 "$1" 2>/dev/null && ! grep -qs ") Z " "/proc/$1/stat"';
  return (await new Deno.Command("/bin/sh", { args: ["-c", script, "sh", `${pid}`] }).output()).success;
}

/** Stops a process in its tracks, so that it answers no signal but SIGKILL; resolves once that is so. */
export async function freeze(pid: number): Promise<void> {
  Deno.kill(pid, "SIGSTOP");
  const script = 'grep -qs ") T " "/proc/$1/stat" || ps -o stat= -p "$1" 2>/dev/null | grep -q T';
  const isStopped = () => new Deno.Command("/bin/sh", { args: ["-c", script, "sh", `${pid}`] }).output();
  await eventually(async () => (await isStopped()).success, `process ${pid} is stopped`);
}

/** Polls until `condition` holds; fails after `timeoutMs` with what was awaited and `details`. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  what: string,
  details: () => string = () => "",
  timeoutMs = 60_000,
): Promise<void> {
  for (const deadline = Date.now() + timeoutMs; !(await condition());) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}${details()}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}
