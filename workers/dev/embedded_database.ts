/**
 * The embedded Postgres of a supervisor: started, watched, started again should it die.
 *
 * @module
 */
import { type EmbeddedPostgres, startPostgres } from "../../shared/embedded/postgres.ts";
import { messageOf } from "../../shared/errors.ts";
import { pause } from "../../shared/stop.ts";
import { restartDelayMs } from "./keep_running.ts";

/** A database that is kept running. */
export interface EmbeddedDatabase {
  /** The same for as long as it is kept running, restarts included. */
  readonly url: string;
  /** Stops watching and stops the server. */
  stop(): Promise<void>;
}

const LOOK_EVERY_MS = 500;

/**
 * Starts Postgres on `dataDir`. A server that no longer takes connections is started again on the same port, with growing
 * pauses for as long as that fails; the processes wait it out.
 *
 * Errors: those of `startPostgres` for the first start.
 */
export async function startEmbeddedDatabase(
  dataDir: string,
  say: (message: string) => void,
): Promise<EmbeddedDatabase> {
  let server: EmbeddedPostgres = await startPostgres({ dataDir, onProgress: say });
  const { url } = server;
  const port = Number(new URL(url).port);
  const stopping = new AbortController();
  const watching = watch();

  async function watch(): Promise<void> {
    for (;;) {
      await pause(LOOK_EVERY_MS, stopping.signal);
      if (stopping.signal.aborted) return;
      if (!await takesConnections(port)) await startAgain();
    }
  }

  async function startAgain(): Promise<void> {
    say("the embedded Postgres is gone; starting it again");
    await server.stop(); // lets go of the folder
    for (let failures = 1; !stopping.signal.aborted; failures++) {
      try {
        server = await startPostgres({ dataDir, port, onProgress: say });
        return say("the embedded Postgres is back");
      } catch (error) {
        say(messageOf(error));
        await pause(restartDelayMs(failures), stopping.signal);
      }
    }
  }

  return {
    url,
    async stop() {
      stopping.abort();
      await watching;
      await server.stop();
    },
  };
}

async function takesConnections(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}
