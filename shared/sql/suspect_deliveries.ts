/**
 * The table `suspect_deliveries`: which of the messages that a dying worker had in its hands was it?
 *
 * @module
 */
import type { Queryable } from "./connect.ts";

/**
 * Counts that `consumer` takes up a message alone; answers with how often it has, this time included. To be committed
 * before the message is looked at: if that kills the worker, the count is what is left of it.
 */
export async function countSuspect(sql: Queryable, consumer: string, body: Uint8Array): Promise<number> {
  const [row] = await sql<{ attempts: number }[]>`
    insert into suspect_deliveries (consumer, fingerprint, attempts, last_at)
    values (${consumer}, sha256(decode(${body.toBase64()}, 'base64')), 1, now())
    on conflict (consumer, fingerprint) do update
    set attempts = suspect_deliveries.attempts + 1, last_at = now()
    returning attempts`;
  return row?.attempts ?? 1;
}

/** Forgets a message that is settled. */
export async function clearSuspect(sql: Queryable, consumer: string, body: Uint8Array): Promise<void> {
  await sql`
    delete from suspect_deliveries
    where consumer = ${consumer} and fingerprint = sha256(decode(${body.toBase64()}, 'base64'))`;
}
