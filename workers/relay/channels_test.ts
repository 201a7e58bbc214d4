import { assert, assertEquals, assertRejects } from "@std/assert";
import { connect } from "amqplib";
import { type Publisher, toQueue } from "../../shared/broker/publish.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testBroker } from "../../specs/support/test_broker.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { createChannels } from "./channels.ts";

const message = { id: "a", type: null, correlationId: null, traceparent: null, occurredAt: null, body: "{}" };

async function stage(around = (publisher: Publisher) => publisher) {
  await using resources = new AsyncDisposableStack();
  const { topology, url } = resources.use(await testBroker());
  const model = await connect(url);
  model.on("error", () => {});
  resources.defer(() => model.close().catch(() => {}));
  let opens = 0;
  const channels = createChannels({
    topology,
    around,
    aroundEvents: (publisher) => publisher,
    onOpen: () => opens++,
    log: testLog,
  });
  const owned = resources.move();
  return {
    model,
    topology,
    channels,
    opens: () => opens,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

Deno.test("createChannels() opens three on a connection, rests while the broker takes nothing, and gives up the connection with any of them", async () => {
  await using on = await stage();
  const { channels, model, topology } = on;
  assertEquals(channels.open(), null);
  await channels.setup(model);
  const open = channels.open();
  assert(open);
  const queue = topology.queues.paymentsOrderCreated.name;
  for (const publisher of [open.events, open.retries.publisher, open.replays]) {
    assertEquals((await publisher.publish([message], toQueue(queue), 5000)).confirmed, ["a"]);
  }
  const depths = await open.retries.readQueues();
  assertEquals(depths.find((depth) => depth.queue === queue)?.messages, 3);
  model.emit("blocked", "low on memory");
  assertEquals([channels.open(), on.opens()], [null, 1]);
  model.emit("unblocked");
  assertEquals([channels.open(), on.opens()], [open, 2]);
  const closed = new Promise((resolve) => model.once("close", resolve));
  await (await model.createChannel()).deleteQueue(queue);
  await assertRejects(open.retries.readQueues, Error, "NOT_FOUND");
  await closed;
  await eventually("the channels to be gone", () => channels.open() === null);
});

Deno.test("createChannels() gives up a connection on which the broker leaves anything unanswered, whatever the channel", async () => {
  const silent: Publisher = {
    publish: (messages) => {
      const unknown = messages.map(({ id }) => id);
      return Promise.resolve({ confirmed: [], refused: [], unknown, offence: null });
    },
  };
  for (const which of [0, 1, 2]) {
    await using on = await stage(() => silent);
    await on.channels.setup(on.model);
    const open = on.channels.open();
    assert(open);
    await [open.events, open.retries.publisher, open.replays][which]?.publish([message], toQueue("q"), 5000);
    await eventually("the channels to be gone", () => on.channels.open() === null);
  }
});
