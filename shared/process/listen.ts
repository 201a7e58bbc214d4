// An HTTP server that outlives having more connections than files may be open.

import { keepDoing, messageOf } from "./errors.ts";
import type { Logger } from "./log.ts";

/** A server that could not take a connection is replaced within so long, in milliseconds. */
const LISTEN_AGAIN_MS = 1000;

type Server = Pick<Deno.HttpServer<Deno.NetAddr>, "addr" | "finished" | "shutdown">;

/**
 * Listens until `stop`, with servers that `listen` starts on the port that it is given. Deno's server ends when it cannot
 * take a connection, because no more files may be open, but goes on serving those that it has. Another one takes its place
 * then: the old one finishes what is under way, and closes the connections that are idle, which makes room. `shutdown`
 * resolves when nothing is under way any more.
 *
 * Errors: those of `listen`, the first time.
 */
export function keepListening(
  listen: (port: number) => Server,
  port: number,
  log: Logger,
  stop: AbortSignal,
) {
  const ending = new Set<Promise<void>>();
  let hasEnded = false;
  let server = start(port);
  const own = server.addr.port; // port 0 is any free one

  function start(port: number): Server {
    const started = listen(port);
    started.finished.catch((error) => {
      hasEnded = true;
      log.warning("Cannot take another connection; closing those that are idle", { error: messageOf(error) });
    });
    return started;
  }

  keepDoing("Listening again", () => {
    if (hasEnded) {
      const drained = server.shutdown().finally(() => ending.delete(drained));
      ending.add(drained);
      server = start(own);
      hasEnded = false;
    }
    return Promise.resolve();
  }, { everyMs: LISTEN_AGAIN_MS, log, stop });

  return {
    port: own,
    shutdown: async (): Promise<void> => void await Promise.all([...ending, server.shutdown()]),
  };
}
