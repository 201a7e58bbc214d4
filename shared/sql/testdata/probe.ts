// What the tests of connections ask of one.

import { connect, type Queryable, type SessionOptions, type Sql } from "../connect.ts";

/** A pool of one connection, so that the one that broke is the one that has to work again. */
export function poolOf(
  url: string,
  options: Partial<SessionOptions> = {},
): AsyncDisposable & { readonly sql: Sql } {
  const sql = connect(url, { name: "probe", role: null, max: 1, ...options });
  return { sql, [Symbol.asyncDispose]: () => sql.end({ timeout: 1 }) };
}

export async function works(sql: Sql): Promise<boolean> {
  return await sql`select 1`.then(() => true, () => false);
}

/** A statement that leaves a key to be found. */
export function insertingKey(sql: Queryable, key: string) {
  return sql<{ key: string }[]>`
    insert into idempotency_keys (key, fingerprint, order_id, created_at)
    values (${key}, sha256('x'), gen_random_uuid(), now()) returning key`;
}

export async function keys(sql: Sql): Promise<string[]> {
  const rows = await sql<{ key: string }[]>`select key from idempotency_keys order by key`;
  return rows.map(({ key }) => key);
}
