import { assertEquals } from "@std/assert";
import type { ConfirmChannel } from "amqplib";
import { bodies, closeReason, conformanceTest, fetchAll } from "./testdata/conformance.ts";

async function publishKeys(
  channel: ConfirmChannel,
  exchange: string,
  keys: readonly string[],
): Promise<void> {
  for (const key of keys) channel.publish(exchange, key, Buffer.from(key));
  await channel.waitForConfirms();
}

conformanceTest("direct exchanges route by equal keys", async (broker) => {
  const channel = await broker.channel();
  const exchange = await broker.exchange(channel, "direct");
  const [one, both] = [await broker.queue(channel), await broker.queue(channel)];
  await channel.bindQueue(one, exchange, "a");
  await channel.bindQueue(both, exchange, "a");
  await channel.bindQueue(both, exchange, "b");
  await publishKeys(channel, exchange, ["a", "b", "a.b", "#", ""]);
  assertEquals(bodies(await fetchAll(channel, one)), ["a"]);
  assertEquals(bodies(await fetchAll(channel, both)), ["a", "b"]);
});

conformanceTest("fanout exchanges route everything to every queue, once each", async (broker) => {
  const channel = await broker.channel();
  const exchange = await broker.exchange(channel, "fanout");
  const [one, two] = [await broker.queue(channel), await broker.queue(channel)];
  await channel.bindQueue(one, exchange, "ignored");
  await channel.bindQueue(one, exchange, "also ignored");
  await channel.bindQueue(two, exchange, "");
  await publishKeys(channel, exchange, ["a", "b"]);
  assertEquals(bodies(await fetchAll(channel, one)), ["a", "b"]);
  assertEquals(bodies(await fetchAll(channel, two)), ["a", "b"]);
});

conformanceTest("topic exchanges match * with one word and # with any number", async (broker) => {
  const channel = await broker.channel();
  const exchange = await broker.exchange(channel, "topic");
  const keys = ["", "a", "a.b", "a.b.c", "b.a", "a.", ".a", "a..b", "*", "#", "a.#"];
  const expected: Record<string, string[]> = {
    "a": ["a"],
    "": [""],
    "*": ["a", "*", "#"],
    "#": keys,
    "a.*": ["a.b", "a.", "a.#"],
    "a.#": ["a", "a.b", "a.b.c", "a.", "a..b", "a.#"],
    "#.a": ["a", "b.a", ".a"],
    "*.*": ["a.b", "b.a", "a.", ".a", "a.#"],
    "#.b.#": ["a.b", "a.b.c", "b.a", "a..b"],
    "a.*.#": ["a.b", "a.b.c", "a.", "a..b", "a.#"],
    "a.#.c": ["a.b.c"],
    "#.#": keys,
  };
  for (const [pattern, matched] of Object.entries(expected)) {
    const queue = await broker.queue(channel);
    await channel.bindQueue(queue, exchange, pattern);
    await publishKeys(channel, exchange, keys);
    assertEquals(bodies(await fetchAll(channel, queue)).sort(), [...matched].sort(), `pattern "${pattern}"`);
    await channel.unbindQueue(queue, exchange, pattern);
  }
});

conformanceTest("binding and unbinding show at once, whatever was routed before", async (broker) => {
  const channel = await broker.channel();
  const exchange = await broker.exchange(channel, "topic");
  const queue = await broker.queue(channel);
  await publishKeys(channel, exchange, ["order.created"]);
  await channel.bindQueue(queue, exchange, "order.*");
  await publishKeys(channel, exchange, ["order.created"]);
  await channel.unbindQueue(queue, exchange, "order.*");
  await publishKeys(channel, exchange, ["order.created"]);
  assertEquals((await channel.checkQueue(queue)).messageCount, 1);
  await channel.bindQueue(queue, exchange, "order.*");
  await channel.deleteQueue(queue);
  await channel.assertQueue(queue); // made anew, without its bindings
  await publishKeys(channel, exchange, ["order.created"]);
  assertEquals((await channel.checkQueue(queue)).messageCount, 0);
});

conformanceTest("internal exchanges take nothing from clients", async (broker) => {
  const channel = await broker.channel();
  const internal = await broker.exchange(channel, "fanout", { internal: true });
  assertEquals((await closeReason(channel, () => channel.publish(internal, "", Buffer.from("x")))).code, 403);
});
