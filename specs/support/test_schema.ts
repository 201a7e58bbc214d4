/**
 * A migrated database for tests, and pools that take on the roles of the processes.
 *
 * @module
 */
import { connect, type DatabaseRole, type Sql } from "../../shared/sql/connect.ts";
import { migrate } from "../../shared/sql/migrate.ts";
import { testDatabase } from "./test_postgres.ts";

/** A database with the project's schema. Disposing of it closes the pools and drops it. */
export interface TestSchema extends AsyncDisposable {
  /** Names this database alone; the user owns all that is in it. */
  readonly url: string;
  /** A pool as the owner of everything, for looking. */
  readonly sql: Sql;
  /** A pool under the role of a process. */
  as(role: DatabaseRole): Sql;
}

/** Makes one: `await using db = await testSchema()` inside a test. */
export async function testSchema(): Promise<TestSchema> {
  const database = await testDatabase();
  await migrate(database.url, { roles: true });
  const pools: Sql[] = [];
  const pool = (role: DatabaseRole | null): Sql => {
    const sql = connect(database.url, { name: "test", role, max: 4 });
    pools.push(sql);
    return sql;
  };
  return {
    url: database.url,
    sql: pool(null),
    as: pool,
    async [Symbol.asyncDispose]() {
      await Promise.all(pools.map((sql) => sql.end({ timeout: 2 })));
      await database[Symbol.asyncDispose]();
    },
  };
}
