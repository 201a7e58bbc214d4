/**
 * Ports: whether one is free, and one that is.
 *
 * @module
 */

/** Below what Linux and macOS hand out to outgoing connections, whose ports come and go at any moment. */
const FIRST_PORT = 20_000;
const LAST_PORT = 31_999;
const MAX_TRIES = 100;

/** Whether nothing listens on the port now. Errors: rejects an address that is not this machine's. */
export function isPortFree(hostname: string, port: number): boolean {
  try {
    Deno.listen({ hostname, port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}

/** A port that is free now, picked at random so that two who ask at the same time rarely get the same one. */
export function freePort(hostname: string): number {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT + 1));
    if (isPortFree(hostname, port)) return port;
  }
  throw new Error(`cannot find a free port from ${FIRST_PORT} to ${LAST_PORT} on ${hostname}: free some`);
}
