import { assertEquals } from "@std/assert";
import { areBrokerUrls, brokerUrls } from "./urls.ts";

Deno.test("brokerUrls() takes one URL, or several with commas between them", () => {
  assertEquals(brokerUrls("amqp://a"), ["amqp://a"]);
  assertEquals(brokerUrls("amqp://a:1/v, amqps://b ,amqp://c"), ["amqp://a:1/v", "amqps://b", "amqp://c"]);
  assertEquals(brokerUrls("amqp://u:p,q@a"), ["amqp://u:p,q@a"], "a comma in a password");
});

Deno.test("areBrokerUrls() refuses what a client cannot connect with", () => {
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
