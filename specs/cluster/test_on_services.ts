// Runs `deno task test` with the given arguments on a RabbitMQ and a PostgreSQL of its own, which are started from the
// programs that `SERVICES_ROOT` leads to.

import { startPostgresServers } from "./postgres_servers.ts";
import { startRabbitCluster } from "./rabbitmq_cluster.ts";

async function testOnServices(args: readonly string[]): Promise<number> {
  await using rabbit = await startRabbitCluster(["one@localhost"]);
  await using servers = await startPostgresServers();
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "test", ...args],
    env: { DATABASE_URL: servers.url, AMQP_URL: rabbit.url },
  }).spawn().status;
  return code;
}

if (import.meta.main) {
  Deno.addSignalListener("SIGINT", () => {}); // the tests get it too, and end; then the services are stopped
  Deno.exit(await testOnServices(Deno.args));
}
