// `GET /ops/operations`, and the record that every route keeps there of what an operator did.

import { v7 as uuidv7 } from "uuid";
import { type OperationJson, operationsPageSchema, type Row } from "../../shared/ops/answers.ts";
import { type Queryable, type Sql, storableText } from "../../shared/sql/connect.ts";
import type { AppDeps } from "../deps.ts";
import { byId, nextCursor, pageSchema, type RequestContext } from "../http.ts";
import { json, type Route, route } from "../openapi/route.ts";

/** What an operator did; `subject` says on what, in some hundred values at most, and `because` why. */
export interface Operation {
  readonly action: string;
  readonly subject?: Readonly<Record<string, unknown>>;
  readonly because?: string | null;
}

/**
 * Keeps one row of what was asked for with the request `c`: from which address, and by which user agent. `sql` is the
 * transaction that does it, where there is one.
 */
export type RecordOperation = (sql: Queryable, c: RequestContext, operation: Operation) => Promise<void>;

export type OpsDeps = AppDeps & { readonly record: RecordOperation };

export function createRecorder({ remoteAddress }: AppDeps["access"]): RecordOperation {
  return async (sql, c, { action, subject = {}, because = null }) => {
    const agent = c.req.header("user-agent")?.slice(0, 200) ?? "no user agent";
    const source = storableText(`${remoteAddress(c) ?? "unknown"} ${agent}`);
    await insertOperation(sql, { action, subject, source, because });
  };
}

/** Writes an operation down, as of now. */
export async function insertOperation(
  sql: Queryable,
  { action, subject, source, because }: Required<Operation> & { readonly source: string },
): Promise<void> {
  await sql`
    insert into operations (id, action, subject, source, reason)
    values (${uuidv7()}, ${action}, ${JSON.stringify(subject)}::text::jsonb, ${source}, ${because})`;
}

/** Up to `limit` operations, newest first, from behind the one with the id `before`. */
export async function listOperations(
  sql: Sql,
  limit: number,
  before?: string,
): Promise<Row<OperationJson>[]> {
  return await sql<Row<OperationJson>[]>`
    select id, at, action, subject, source, reason from operations
    where true ${before ? sql`and id < ${before}` : sql``} order by id desc limit ${limit}`;
}

export function operationsRoute(sql: Sql): Route {
  return route("GET /operations", "listOperations", "What operators did, newest first", {
    query: pageSchema,
    answers: [json(200, "A page of operations.", operationsPageSchema)],
    handle: async ({ query }) => {
      const { limit, cursor } = query();
      const operations = await listOperations(sql, limit, cursor);
      return { operations, nextCursor: nextCursor(operations, limit, byId) };
    },
  });
}
