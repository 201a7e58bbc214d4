/**
 * What page tests do to a stack beside the page: play scenarios, send messages, count dead letters.
 *
 * @module
 */
import { connect } from "amqplib";
import { Buffer } from "node:buffer";
import { eventually } from "../support/eventually.ts";
import type { TestStack } from "../support/test_stack.ts";

/** How long the page may take to show what has happened, in milliseconds, on a machine that is busy. */
export const PATIENCE_MS = 30_000;

export async function play({ url }: TestStack, scenario: string): Promise<string> {
  const response = await fetch(`${url}/ops/scenarios/${scenario}`, { method: "POST" });
  return (await response.json()).id;
}

export async function completed(stack: TestStack): Promise<string> {
  const id = await eventually("an order", async () => await play(stack, "order-success").catch(() => null));
  await eventually("it to end", async () => {
    const [row] = await stack.db.sql`select status from orders where id = ${id}`;
    return row?.status === "COMPLETED";
  }, PATIENCE_MS);
  return id;
}

export async function lettersOf({ db }: TestStack): Promise<number> {
  const [row] = await db.sql<
    { count: number }[]
  >`select count(*)::int as count from dead_letters where state = 'OPEN'`;
  return row?.count ?? 0;
}

export async function sendToQueue({ broker }: TestStack, body: string): Promise<void> {
  const model = await connect(broker.url);
  const channel = await model.createConfirmChannel();
  channel.sendToQueue(broker.topology.queues.paymentsOrderCreated.name, Buffer.from(body));
  await channel.waitForConfirms();
  await model.close();
}
