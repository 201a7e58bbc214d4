// Runs `deno task dev` for a test: in a folder and, where services are given, under names of its own.

import { join } from "node:path";
import { eventually } from "../../../specs/support/eventually.ts";
import { readOutput, taskCommand } from "../../../specs/support/run_task.ts";
import { testBroker } from "../../../specs/support/test_broker.ts";
import { takeStackSlot, testDatabase } from "../../../specs/support/test_schema.ts";
import { removePostgres } from "../../../shared/embedded/postgres.ts";
import { signalChild } from "../../../shared/process/stop.ts";

/** How long a whole system may take to start, or an order to complete, on a machine that runs other tests as well. */
export const PATIENCE_MS = 60_000;

/** Where a test's runs live: the folder that they use, and variables that keep them apart. */
export type DevHome = Awaited<ReturnType<typeof devHome>>;

/**
 * Makes a home: services are embedded, or those of `DATABASE_URL` and `AMQP_URL` with a database and names of its own.
 * Disposing deletes all of it.
 */
export async function devHome() {
  await using resources = new AsyncDisposableStack();
  resources.use(await takeStackSlot());
  const folder = await Deno.makeTempDir({ prefix: "orderflow_dev_test_" });
  resources.defer(async () => {
    await removePostgres(join(folder, "postgres"));
    await Deno.remove(folder, { recursive: true });
  });
  await Deno.chmod(folder, 0o711); // root's Postgres runs under another account, which must pass through
  const env: Record<string, string> = { ORDERFLOW_HOME: folder, PORT: "0" };
  if (Deno.env.get("DATABASE_URL")) env.DATABASE_URL = resources.use(await testDatabase()).url;
  if (Deno.env.get("AMQP_URL")) Object.assign(env, resources.use(await testBroker()).env);
  const owned = resources.move();
  return { folder, env, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

export type DevRun = ReturnType<typeof startDev>;

/** Starts the supervisor in `home`. Disposing of it kills it, if it still runs. */
export function startDev(home: DevHome, env: Record<string, string> = {}) {
  // In a group of its own, for a terminal's Ctrl-C to reach.
  const process = taskCommand("dev", [], { env: { ...home.env, ...env }, detached: true }).spawn();
  let code: number | null = null;
  const output = readOutput(process.stdout, process.stderr);
  const over = Promise.all([process.status, output.ended]).then(([status]) => code = status.code);
  return {
    process,
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
