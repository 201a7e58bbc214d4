// Orders under which nodes are killed, and what must be true of all of them afterwards.

import { assertEquals } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import { balance, readBooks, settled, violations } from "../support/ledger.ts";
import { keepOrdering } from "../support/place_orders.ts";
import type { TestStack } from "../support/test_stack.ts";

const ORDERS = 2000;
/** Between the first two orders, in milliseconds; more between later ones, see `pace`. */
const FIRST_GAP_MS = 20;
const POLL_MS = 10;
/** With one node gone the others take over and clients reconnect; on a busy machine that may take a while. */
export const RECOVERY_MS = 60_000;
const LOAD_MS = 300_000;

/** Runs `trouble` under load, and has all that was ordered end: no order is lost, doubled, stuck or wrong. */
export async function ordersSurvive(stack: TestStack, trouble: () => Promise<void>): Promise<void> {
  const { db } = stack;
  const over = Promise.withResolvers<void>();
  const load = keepOrdering(stack.url, {
    orders: ORDERS,
    connections: 8,
    gate: pace(over.promise),
    stop: AbortSignal.timeout(LOAD_MS),
  });
  await trouble().finally(over.resolve);
  const { accepted, answeredTwice, unanswered } = await load;
  await settled(stack);
  assertEquals({ accepted: accepted.size, unanswered }, { accepted: ORDERS, unanswered: 0 });
  const ledger = balance({ accepted, answeredTwice }, await readBooks(db.sql));
  assertEquals(ledger, { lost: 0, duplicated: 0, stuck: 0, wrong: 0 });
  assertEquals(await violations(stack), []);
  assertEquals([...await db.sql`select reason, detail from dead_letters`], []);
  assertEquals(stack.crashes, [], "processes that did not just wait");
}

/** Waits until an order that was placed from now on is complete. */
export async function ordersEnd({ db }: TestStack, when: string): Promise<void> {
  const since = new Date();
  await eventually(`an order to be complete ${when}`, async () => {
    const rows = await db.sql`
      select from orders where created_at > ${since} and status = 'COMPLETED' limit 1`;
    return rows.length > 0;
  }, RECOVERY_MS);
}

/** Waits until 50 orders that were placed from now on wait in the outbox. */
export async function ordersWait({ db }: TestStack, when: string): Promise<void> {
  const since = new Date();
  await eventually(`orders to be accepted, and to wait, ${when}`, async () => {
    const [row] = await db.sql`
      select count(*)::int as count from outbox_events
      where type = 'order.created' and occurred_at > ${since} and published_at is null`;
    return row?.count >= 50;
  }, RECOVERY_MS);
}

/**
 * A gate for the load: an order now and then until `over` resolves, the seldomer the fewer are left, so that there is load
 * however long it takes; then all of the rest at once.
 */
function pace(over: Promise<void>): () => Promise<void> {
  let isOver = false;
  over.then(() => isOver = true);
  let orders = 0;
  let dueAt = performance.now();
  return async () => {
    dueAt += FIRST_GAP_MS * ORDERS / Math.max(ORDERS - orders++, 0);
    const mine = dueAt;
    while (!isOver && performance.now() < mine) await delay(POLL_MS);
  };
}
