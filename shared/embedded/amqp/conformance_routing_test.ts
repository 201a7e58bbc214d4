import { assert, assertEquals } from "@std/assert";
import type { ConfirmChannel } from "amqplib";
import { topicMatches } from "./broker.ts";
import { bodies, conformance, fetchAll, ready } from "./testdata/conformance.ts";

async function publishKeys(
  channel: ConfirmChannel,
  exchange: string,
  keys: readonly string[],
): Promise<void> {
  for (const key of keys) channel.publish(exchange, key, Buffer.from(key));
  await channel.waitForConfirms();
}

conformance({
  async "direct exchanges route by equal keys, fanout ones everything, once each"({ broker, channel }) {
    for (const [type, expected] of [["direct", ["a", "a b"]], ["fanout", ["a b #", "a b #"]]] as const) {
      const exchange = await broker.exchange(channel, type);
      const [one, both] = [await broker.queue(channel), await broker.queue(channel)];
      await channel.bindQueue(one, exchange, "a");
      await channel.bindQueue(both, exchange, "a");
      await channel.bindQueue(both, exchange, "b");
      await publishKeys(channel, exchange, ["a", "b", "#"]);
      assertEquals([bodies(await fetchAll(channel, one)), bodies(await fetchAll(channel, both))], [
        ...expected,
      ]);
    }
  },

  async "topic exchanges match * with one word and # with any number"({ broker, channel }) {
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
      assertEquals(bodies(await fetchAll(channel, queue)), matched.join(" "), `pattern "${pattern}"`);
      await channel.unbindQueue(queue, exchange, pattern);
    }
  },

  async "binding and unbinding show at once, whatever was routed before"({ broker, channel }) {
    const exchange = await broker.exchange(channel, "topic");
    const queue = await broker.queue(channel);
    const publish = () => publishKeys(channel, exchange, ["order.created"]);
    await publish();
    await channel.bindQueue(queue, exchange, "order.*");
    await publish();
    await channel.unbindQueue(queue, exchange, "order.*");
    await publish();
    assertEquals(await ready(channel, queue), 1);
    await channel.bindQueue(queue, exchange, "order.*");
    await channel.deleteQueue(queue);
    await channel.assertQueue(queue); // made anew, without its bindings
    await publish();
    assertEquals(await ready(channel, queue), 0);
  },
});

Deno.test("topicMatches() answers soon for a pattern with many # and a long key", () => {
  const pattern = Array(30).fill("#").join(".a."); // tried in every combination, this would take for ever
  assert(topicMatches(pattern, `${Array(120).fill("a").join(".")}.b`));
});
