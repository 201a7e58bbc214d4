import { retryWhileUnavailable } from "../../shared/process/errors.ts";
import { connect } from "../../shared/sql/connect.ts";
import { migrate } from "../../shared/sql/migrate.ts";
import { listenForWakeUps, tickRelay } from "../../shared/sql/outbox.ts";
import { eventually } from "../support/eventually.ts";
import { testBroker } from "../support/test_broker.ts";
import { testLog } from "../support/test_log.ts";
import { schemaAt, type TestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";
import { ordersEnd, ordersSurvive, RECOVERY_MS } from "./load.ts";
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
      await using ofPrimary = listenAt(servers.bothUrl);
      await ofPrimary.hears(db);
      await using ofStandby = listenAt(servers.standbyUrl());
      await ofStandby.isRefused();
      await servers.failOver();
      await ordersEnd(stack, `after the ${which} failover`);
      await ofPrimary.hears(db);
      await ofStandby.hears(db);
      await servers.follow();
    }
  });
});

/** Listens for wake-ups as the relay does: what refuses it is asked again. */
function listenAt(url: string) {
  const sql = connect(url, { name: "listener", role: null, max: 1 });
  const stop = new AbortController();
  let [ticks, refusals] = [0, 0];
  const onWakeUp = (wakeUp: string) => void (ticks += wakeUp === "tick" ? 1 : 0);
  const listen = () =>
    listenForWakeUps(sql, onWakeUp).catch((error) => {
      refusals++;
      throw error;
    });
  const listening = retryWhileUnavailable(listen, { log: testLog, stop: stop.signal });
  return {
    /** Waits until a wake-up is heard that is sent from now on. */
    async hears(db: TestSchema): Promise<void> {
      ticks = 0;
      await eventually("a wake-up to be heard", async () => {
        await tickRelay(db.sql);
        return ticks;
      }, RECOVERY_MS);
    },
    isRefused: () => eventually("a standby to refuse to be listened to", () => refusals, RECOVERY_MS),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await listening.catch(() => {});
      await sql.end({ timeout: 2 });
    },
  };
}
