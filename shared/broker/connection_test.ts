import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { connect } from "amqplib";
import { startCutProxy } from "../../specs/support/cut_proxy.ts";
import { testBroker } from "../../specs/support/test_broker.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { startAmqpBroker } from "../embedded/amqp/server.ts";
import { areBrokerUrls, brokerUrls, connectBroker, ensureTopology, renewsAtMost } from "./connection.ts";
import type { Logger } from "../process/log.ts";

Deno.test("connectBroker() gives up on a set-up without an end and tries on a new connection", async () => {
  await using broker = await testBroker();
  const never = Promise.withResolvers<void>();
  let setups = 0;
  const connection = connectBroker({
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
  const connection = connectBroker({
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

Deno.test("connectBroker() notices within 10 s that its broker has gone silent, and connects anew", async () => {
  await using broker = await testBroker();
  await using wire = startCutProxy(broker.url, 5672);
  let setups = 0;
  const setup = () => Promise.resolve(void setups++);
  const connection = connectBroker({ url: wire.url, name: "test", log: testLog, setup });
  await eventually("the connection", () => connection.isUp());
  wire.silence();
  await eventually("the loss", () => !connection.isUp(), 10_000);
  await eventually("another connection", () => setups === 2 && connection.isUp());
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
  const options = { name: "test", log, setup: () => Promise.resolve() };
  const connection = connectBroker({ ...options, url: `amqp://${user}@127.0.0.1:${broker.port}` });
  await eventually("the connection", () => connection.isUp());
  await connection.close();
  const lost = connectBroker({ ...options, url: `amqp://${user}@127.0.0.1:${broker.port}/a%20b` });
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
  const bad = [
    "",
    "amqp://",
    "a:5672",
    "http://a",
    "amqp://a:1,b:2",
    "amqp://a,b",
    "amqp://a,http://b",
    "amqp://a,",
  ];
  assertEquals(bad.filter(areBrokerUrls), []);
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
