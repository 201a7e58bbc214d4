import { assertEquals } from "@std/assert";
import { testBroker } from "../../specs/support/test_broker.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { connectBroker } from "./connect.ts";

Deno.test("connectBroker() gives up on a set-up without an end and tries on a new connection", async () => {
  await using broker = await testBroker();
  const never = Promise.withResolvers<void>();
  let setups = 0;
  const connection = await connectBroker({
    url: broker.url,
    name: "test",
    log: testLog,
    setup: () => ++setups <= 2 ? never.promise : Promise.resolve(),
    setupMs: 50,
  });
  await eventually("the connection", () => connection.isUp());
  assertEquals(setups, 3);
  await connection.close();
});
