import { assertEquals } from "@std/assert";
import { eventually } from "../specs/support/eventually.ts";
import { shareTestSchema, testSchema } from "../specs/support/test_schema.ts";
import { readReadiness } from "./health.ts";

shareTestSchema();

Deno.test("a database that takes no writes is down, on connections from before too, and up again with the writes", async () => {
  await using db = await testSchema();
  const ordersSql = db.as("orderflow_orders");
  const read = () => readReadiness({ ordersSql, isSchemaReady: () => true, isBrokerUp: () => false });
  const name = db.sql(new URL(db.url).pathname.slice(1));
  assertEquals(await read(), { database: "up", broker: "down" });
  await db.sql`alter database ${name} set default_transaction_read_only = on`;
  await db.sql`
    select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()`;
  await eventually("the database to be down", async () => (await read()).database === "down");
  await db.sql`alter database ${name} reset default_transaction_read_only`;
  await eventually("the database to be up", async () => (await read()).database === "up", 2000);
  await ordersSql`set transaction_read_only = on`; // nothing: it is for one transaction, and reported to nobody
  assertEquals((await read()).database, "up");
});
