/**
 * How many whole systems the tests run at once on a Postgres that is given: no more than it has connections for.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import postgres from "postgres";

/** Connections of one system with the test's own; the most that was seen is 40. */
const STACK_CONNECTIONS = 40;
/** Left to tests that run no system, and to whoever else uses the server. */
const OTHER_CONNECTIONS = 20;
/** Any number that no other lock of this project has. */
const LOCK_CLASS = 7_203_115;
/** Every test that is ahead has long ended by then. */
const WAIT_MS = 900_000;
/** Between two looks, in milliseconds. */
const LOOK_MS = 200;

/** How many systems may run at once on a server with so many connections; one, whatever it has. Pure. */
export function stackSlots(maxConnections: number): number {
  return Math.max(Math.floor((maxConnections - OTHER_CONNECTIONS) / STACK_CONNECTIONS), 1);
}

let held: { users: number; readonly slot: Promise<AsyncDisposable> } | undefined;

/**
 * Waits for a slot on the server of `DATABASE_URL`; without that, everybody has a server of their own and nobody waits.
 * Systems of one test file share a slot, so that nobody waits for a second one with the first in hand.
 *
 * Errors: when the server cannot be asked, or no slot comes free within 15 minutes.
 */
export async function takeStackSlot(): Promise<AsyncDisposable> {
  const url = Deno.env.get("DATABASE_URL");
  if (!url) return { [Symbol.asyncDispose]: () => Promise.resolve() };
  const mine = held ??= { users: 0, slot: lockSlot(url) };
  mine.users++;
  const slot = await mine.slot.catch((error) => {
    held = undefined; // whoever comes next asks anew
    throw error;
  });
  return {
    async [Symbol.asyncDispose]() {
      if (--mine.users > 0) return;
      held = undefined;
      await slot[Symbol.asyncDispose]();
    },
  };
}

/**
 * Locks one of the slots of the database at `url`, for as long as a connection is open: a test that is killed gives its
 * slot back.
 */
export async function lockSlot(url: string): Promise<AsyncDisposable> {
  const sql = postgres(url, { max: 1, connect_timeout: 10, max_lifetime: null, onnotice: () => {} });
  const close = () => sql.end({ timeout: 2 });
  try {
    const [row] = await sql<{ count: number }[]>`select current_setting('max_connections')::int as count`;
    const slots = stackSlots(row?.count ?? 0);
    for (const until = performance.now() + WAIT_MS; performance.now() < until;) {
      for (let slot = 0; slot < slots; slot++) {
        const [lock] = await sql<{ ours: boolean }[]>`
          select pg_try_advisory_lock(${LOCK_CLASS}::int, ${slot}::int) as ours`;
        if (lock?.ours) return { [Symbol.asyncDispose]: close };
      }
      await delay(LOOK_MS);
    }
    throw new Error(`None of ${slots} slots for a whole system came free within ${WAIT_MS} ms`);
  } catch (error) {
    await close();
    throw error;
  }
}
