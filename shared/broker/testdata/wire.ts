/**
 * A connection to a test's broker, as those have it who publish.
 *
 * @module
 */
import { connect } from "amqplib";
import type { TestBroker } from "../../../specs/support/test_broker.ts";
import { declareTopology } from "../connection.ts";
import { CONSUMED_TYPES } from "../../topology.ts";
import { createPublisher, toExchange } from "../publish.ts";

export type Wire = Awaited<ReturnType<typeof openWire>>;

/** Connects, and declares the broker's topology. */
export async function openWire({ url, topology }: TestBroker) {
  const model = await connect(url);
  const channel = await model.createConfirmChannel();
  await declareTopology(channel, topology);
  return {
    model,
    channel,
    publisher: createPublisher(channel),
    route: toExchange(topology.exchange, CONSUMED_TYPES),
    [Symbol.asyncDispose]: () => model.close().catch(() => {}),
  };
}
