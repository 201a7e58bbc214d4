import { assertEquals, assertRejects } from "@std/assert";
import { testBroker } from "../../specs/support/test_broker.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { startAmqpBroker } from "../embedded/amqp/server.ts";
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

Deno.test("connectBroker() goes on to the next of several nodes, and comes back to one that is there again", async () => {
  let [one, two] = [startAmqpBroker(), startAmqpBroker()];
  const nobody = "amqp://guest:guest@127.0.0.1:1";
  let setups = 0;
  const connection = await connectBroker({
    url: [nobody, one.url, two.url].join(),
    name: "test",
    log: testLog,
    setup: () => Promise.resolve(void setups++),
  });
  await eventually("a node that answers", () => connection.isUp());
  // Whichever it is at: each stop of the other one changes nothing, and one of the two is a loss.
  await one.stop();
  await eventually("the other node", () => connection.isUp());
  one = startAmqpBroker({ port: one.port });
  await two.stop();
  await eventually("the first node again", () => setups >= 2 && connection.isUp());
  two = startAmqpBroker({ port: two.port });
  await one.stop();
  await eventually("the second node again", () => setups >= 3 && connection.isUp());
  await connection.close();
  await two.stop();
});

Deno.test("connectBroker() can be closed while nobody answers, and whenUp() says so", async () => {
  const url = "amqp://guest:guest@127.0.0.1:1";
  const connection = await connectBroker({ url, name: "test", log: testLog, setup: () => Promise.resolve() });
  const up = assertRejects(() => connection.whenUp(), Error, "closed before it was up");
  await connection.close();
  await up;
  assertEquals(connection.isUp(), false);
});
