import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { connect } from "amqplib";
import { startCutProxy } from "../../specs/support/cut_proxy.ts";
import { testBroker } from "../../specs/support/test_broker.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { startAmqpBroker } from "../embedded/amqp/server.ts";
import { areBrokerUrls, brokerUrls, connectBroker, ensureTopology, renewsAtMost } from "./connection.ts";
import type { Logger } from "../process/log.ts";

/** Connects, and counts the connections that were set up. */
function connectTo(url: string, more: Partial<Parameters<typeof connectBroker>[0]> = {}) {
  let setups = 0;
  const setup = () => Promise.resolve(void setups++);
  const connection = connectBroker({ url, name: "test", log: testLog, setup, ...more });
  return {
    ...connection,
    /** Waits until it is up, for the `least`th time at least. */
    isSetUp: (what: string, least = 1) => eventually(what, () => setups >= least && connection.isUp()),
  };
}

Deno.test("connectBroker() gives up on a set-up without an end and tries on a new connection", async () => {
  await using broker = await testBroker();
  const never = Promise.withResolvers<void>();
  let setups = 0;
  const setup = () => ++setups <= 2 ? never.promise : Promise.resolve();
  const connection = connectTo(broker.url, { setup, setupMs: 50 });
  await eventually("the connection", () => connection.isUp());
  assertEquals(setups, 3);
  await connection.close();
});

Deno.test("connectBroker() goes on to the next of several nodes, and comes back to one that is there again", async () => {
  let [one, two] = [startAmqpBroker(), startAmqpBroker()];
  const nobody = "amqp://guest:guest@127.0.0.1:1";
  const connection = connectTo([nobody, one.url, two.url].join());
  await connection.isSetUp("a node that answers");
  // Whichever it is at: each stop of the other one changes nothing, and one of the two is a loss.
  await one.stop();
  await connection.isSetUp("the other node");
  one = startAmqpBroker({ port: one.port });
  await two.stop();
  await connection.isSetUp("the first node again", 2);
  two = startAmqpBroker({ port: two.port });
  await one.stop();
  await connection.isSetUp("the second node again", 3);
  await connection.close();
  await two.stop();
});

Deno.test("connectBroker() notices within 10 s that its broker has gone silent, and connects anew", async () => {
  await using broker = await testBroker();
  await using wire = startCutProxy(broker.url, 5672);
  const connection = connectTo(wire.url);
  await connection.isSetUp("the connection");
  wire.silence();
  await eventually("the loss", () => !connection.isUp(), 10_000);
  await connection.isSetUp("another connection", 2);
  await connection.close();
});

Deno.test("connectBroker() logs in with what its URL has, decoded, and names a vhost that is not there", async () => {
  const credentials = { user: "ü@", password: "pä%ss:" };
  const broker = startAmqpBroker(credentials);
  const user = `${encodeURIComponent(credentials.user)}:${encodeURIComponent(credentials.password)}`;
  const warnings: unknown[] = [];
  const log: Logger = Object.create(testLog, {
    debug: { value: () => {} },
    warning: { value: (_: string, { error }: { error: string }) => warnings.push(error) },
  });
  const url = `amqp://${user}@127.0.0.1:${broker.port}`;
  const connection = connectTo(url, { log });
  await connection.isSetUp("the connection");
  await connection.close();
  const lost = connectTo(`${url}/a%20b`, { log });
  await eventually("the refusal", () => warnings.length > 0);
  await lost.close(); // while it cannot be used
  assertEquals(warnings, ['The broker has no vhost "a b" for this user']);
  await broker.stop();
});

Deno.test("ensureTopology() finds what others have declared where its user may not declare, and misses what is not there", async () => {
  await using broker = await testBroker();
  const model = await connect(broker.url);
  model.on("error", () => {});
  let channels = 0;
  /** The first channel asks for what nobody may declare: a real refusal (403), which ends it. */
  const refused = {
    async createChannel() {
      const channel = await model.createChannel();
      const declare = () => Object.getPrototypeOf(channel).assertExchange.call(channel, "", "topic");
      return channels++ === 0 ? Object.assign(channel, { assertExchange: declare }) : channel;
    },
  };
  const missing = await assertRejects(() => ensureTopology(refused, broker.topology), Error);
  assertStringIncludes(missing.message, "404 (NOT-FOUND)");
  await ensureTopology(model, broker.topology);
  channels = 0;
  await ensureTopology(refused, broker.topology);
  assertEquals(channels, 2);
  await model.close();
});

Deno.test("brokerUrls() finds one URL, or several with commas between them, and areBrokerUrls() refuses what no client can use", () => {
  assertEquals(brokerUrls("amqp://a"), ["amqp://a"]);
  assertEquals(brokerUrls("amqp://a:1/v, amqps://b ,amqp://c"), ["amqp://a:1/v", "amqps://b", "amqp://c"]);
  assertEquals(brokerUrls("amqp://u:p,q@a"), ["amqp://u:p,q@a"], "a comma in a password");
  const good = ["amqp://a", "amqps://u:p@a:5671/v?heartbeat=5", "amqp://[::1]:5672", "amqp://a,amqp://b:1"];
  assertEquals(good.filter((text) => !areBrokerUrls(text)), []);
  const several = ["amqp://a:1,b:2", "amqp://a,b", "amqp://a,http://b", "amqp://a,"];
  assertEquals(["", "amqp://", "a:5672", "http://a", ...several].filter(areBrokerUrls), []);
});

Deno.test("renewsAtMost() renews once, and again only when the time is over", () => {
  let renewals = 0;
  const seldom = renewsAtMost(() => renewals++, 60_000);
  for (let i = 0; i < 3; i++) seldom();
  assertEquals(renewals, 1);
  const always = renewsAtMost(() => renewals++, 0);
  for (let i = 0; i < 3; i++) always();
  assertEquals(renewals, 4);
});
