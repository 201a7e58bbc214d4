import { migrate } from "../../shared/sql/migrate.ts";
import { testBroker } from "../support/test_broker.ts";
import { schemaAt } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";
import { ordersEnd, ordersSurvive } from "./load.ts";
import { startPostgresServers } from "./postgres_servers.ts";

Deno.test("a primary of PostgreSQL is killed under load, then the one that took over: no order is lost, doubled or stuck", async () => {
  await using servers = await startPostgresServers();
  await servers.follow();
  await migrate(servers.bothUrl, { roles: true });
  await using db = schemaAt(servers.bothUrl);
  await using broker = await testBroker();
  await using stack = await startStack({}, { services: { db, broker } });
  await ordersSurvive(stack, async () => {
    for (const which of ["first", "second"]) {
      await ordersEnd(stack, `before the ${which} failover`);
      await servers.failOver();
      await ordersEnd(stack, `after the ${which} failover`);
      await servers.follow();
    }
  });
});
