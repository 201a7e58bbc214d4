// What an order's story says of it: whether there is more to come, what holds it up, its way, and whether a scenario has kept
// its word. Pure.

import { isFinal, ORDER_TRANSITIONS, type OrderStatus } from "../shared/order_status.ts";
import type { OrderStoryJson, ScenarioInfo } from "../shared/ops/answers.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { Beat } from "../shared/ops/story.ts";
import type { ToldStory } from "./page_data.ts";

/** Whether nothing more is to be expected: the order has ended, and none of its messages is on its way. */
export function isSettled({ order, beats }: ToldStory): boolean {
  const messages = beats.at(-1)?.messages ?? [];
  return isFinal(order.status) && messages.every(({ state }) => state !== "waits" && state !== "retry");
}

/** Whether a story has to be read again: its order has changed in the list, or something is still on its way. */
export function needsRereading(story: ToldStory, pulse: LivePulse): boolean {
  const listed = pulse.orders.find(({ id }) => id === story.order.id);
  return (listed !== undefined && listed.updatedAt !== story.order.updatedAt) || !isSettled(story);
}

/** The dead letter that an order waits for, by its id. */
export function heldUpBy(status: OrderStatus, beats: readonly Beat[]): string | null {
  if (isFinal(status)) return null;
  const dead = beats.findLast(({ kind }) => kind === "dead");
  const isStill = beats.at(-1)?.messages.some(({ state, id }) => state === "dead" && id === dead?.eventId);
  return isStill ? dead?.deadLetterId ?? null : null;
}

/** The statuses that an order has had, and those that it would have next if all went well. */
export function stepsOf({ order, timeline }: OrderStoryJson): OrderStatus[] {
  const had = timeline.flatMap((entry) => entry.kind === "status" ? [entry.to] : []);
  const steps = had.length > 0 ? had : [order.status];
  for (let next; (next = ORDER_TRANSITIONS.find(({ from }) => from === steps.at(-1))?.to);) steps.push(next);
  return steps;
}

/** Whether an order has come to what its scenario's sentence begins with, a dead letter included where it tells of one. */
export function isAsPromised({ expect }: ScenarioInfo, status: OrderStatus, beats: readonly Beat[]): boolean {
  const [promised] = /^[A-Z_]+/.exec(expect) ?? [];
  const needsLetter = expect.includes("dead letter") && promised === "PENDING";
  return status === promised && (!needsLetter || beats.some(({ kind }) => kind === "dead"));
}
