import { assert, assertEquals, assertRejects } from "@std/assert";
import { connect } from "amqplib";
import { type Publisher, toQueue } from "../../shared/broker/publish.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testBroker } from "../../specs/support/test_broker.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { type Channels, createChannels } from "./channels.ts";

const opened = ({ events, retries, replays }: Channels) =>
  [events, retries, replays].map((one) => one !== null);
const ALL = [true, true, true];
const NONE = [false, false, false];

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

Deno.test("createChannels() opens three on a connection, and rests while the broker takes nothing", async () => {
  await using on = await stage();
  const { channels, model, topology } = on;
  assertEquals(opened(channels), NONE);
  await channels.setup(model);
  assertEquals([opened(channels), on.opens()], [ALL, 1]);
  const queue = topology.queues.paymentsOrderCreated.name;
  const message = { type: null, correlationId: null, traceparent: null, occurredAt: null, body: "{}" };
  for (const publisher of [channels.events, channels.retries?.publisher, channels.replays]) {
    const outcome = await publisher?.publish([{ id: "a", ...message }], toQueue(queue), 5000);
    assertEquals(outcome?.confirmed, ["a"]);
  }
  const depths = await channels.retries?.readQueues();
  assertEquals(depths?.find((depth) => depth.queue === queue)?.messages, 3);
  model.emit("blocked", "low on memory");
  assertEquals([opened(channels), on.opens()], [NONE, 1]);
  model.emit("unblocked");
  assertEquals([opened(channels), on.opens()], [ALL, 2]);
});

Deno.test("createChannels() gives up a connection on which the broker leaves anything unanswered, whatever the channel", async () => {
  const silent: Publisher = {
    publish: (messages) => {
      const unknown = messages.map(({ id }) => id);
      return Promise.resolve({ confirmed: [], refused: [], unknown, offence: null });
    },
  };
  const message = { type: null, correlationId: null, traceparent: null, occurredAt: null, body: "{}" };
  for (const which of ["events", "retries", "replays"] as const) {
    await using on = await stage(() => silent);
    await on.channels.setup(on.model);
    const sender = which === "retries" ? on.channels.retries?.publisher : on.channels[which];
    await sender?.publish([{ id: "a", ...message }], toQueue("q"), 5000);
    await eventually("the channels to be gone", () => !opened(on.channels).includes(true));
  }
});

Deno.test("createChannels() gives up the connection with any of its channels", async () => {
  await using on = await stage();
  const { channels, model, topology } = on;
  await channels.setup(model);
  const closed = new Promise((resolve) => model.once("close", resolve));
  const admin = await model.createChannel();
  await admin.deleteQueue(topology.queues.paymentsOrderCreated.name);
  assert(channels.retries);
  await assertRejects(channels.retries.readQueues, Error, "NOT_FOUND");
  await closed;
  await eventually("the channels to be gone", () => !opened(channels).includes(true));
});
