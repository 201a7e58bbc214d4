import { assertEquals } from "@std/assert";
import { connect } from "amqplib";
import { testBroker } from "../../specs/support/test_broker.ts";
import { createPublisher, toQueue } from "./publish.ts";
import { renewsAtMost } from "./renew.ts";

Deno.test("renewsAtMost() renews once, and again only when the time is over", () => {
  let renewals = 0;
  const seldom = renewsAtMost(() => renewals++, 60_000);
  for (let i = 0; i < 3; i++) seldom();
  assertEquals(renewals, 1);
  const always = renewsAtMost(() => renewals++, 0);
  for (let i = 0; i < 3; i++) always();
  assertEquals(renewals, 4);
});

Deno.test("a publisher tells once of a batch with nacks, and not of one that the broker takes or returns", async () => {
  await using broker = await testBroker();
  const connection = await connect(broker.url);
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue("", {
    exclusive: true,
    arguments: { "x-max-length": 1, "x-overflow": "reject-publish" },
  });
  let nacks = 0;
  const publisher = createPublisher(channel, () => nacks++);
  const messages = (...ids: string[]) =>
    ids.map((id) => ({
      id,
      type: null,
      correlationId: null,
      traceparent: null,
      occurredAt: null,
      body: "{}",
    }));

  const taken = await publisher.publish(messages("a"), toQueue(queue), 5000);
  assertEquals([taken.confirmed, nacks], [["a"], 0]);
  const returned = await publisher.publish(messages("b"), toQueue(`no ${queue}`), 5000);
  assertEquals([returned.refused.map(({ id }) => id), nacks], [["b"], 0]);
  const nacked = await publisher.publish(messages("c", "d"), toQueue(queue), 5000);
  assertEquals([nacked.refused.map(({ id }) => id).toSorted(), nacks], [["c", "d"], 1]);
  await connection.close();
});
