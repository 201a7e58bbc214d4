// Holds through the real stack: what is held takes nothing, a step lets one event through, and nothing is lost or doubled.

import { assertEquals } from "@std/assert";
import { heldSchema } from "../shared/ops/answers.ts";
import { armFaults } from "../shared/ops/faults.ts";
import { eventually } from "./support/eventually.ts";
import { call } from "./support/http.ts";
import { ledgerOf, readLedger, settled, violations } from "./support/ledger.ts";
import { placeOrders } from "./support/place_orders.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { type StackOptions, startStack } from "./support/test_stack.ts";

shareTestSchema();

const COUNTED = {
  seats: "enrollments",
  charged: "payments",
  paid: "orders where status <> 'PENDING'",
  told: "notifications",
  published: "outbox_events where published_at is not null",
  repeated: "processed_events where duplicates > 0",
};
type Counts = Partial<Record<keyof typeof COUNTED, number>>;

/** A stack, what its operator and its clients do, and how far the orders are. */
async function stage(env: Record<string, string>, options: StackOptions) {
  const stack = await startStack(env, options);
  const { sql } = stack.db;
  const ask = async (line: string, body?: object) =>
    heldSchema.parse(await call(stack.url, line, body)).holds.map(({ part }) => part);
  return {
    ...stack,
    hold: (part: string, body?: object) => ask(`PUT /ops/holds/${part}`, body),
    step: (part: string) => ask(`POST /ops/holds/${part}/step`),
    resume: (part: string) => ask(`DELETE /ops/holds/${part}`),
    order: (orders: number) => placeOrders(stack.url, { orders, connections: 1 }),
    /** Waits until the orders are so far, and no further. */
    reach: (counts: Counts) =>
      eventually(JSON.stringify(counts), async () => {
        for (const [name, wanted] of Object.entries(counts)) {
          const { count } = await sql.unsafe(`select from ${COUNTED[name as keyof Counts]}`);
          if (count !== wanted) return false;
        }
        return true;
      }),
    /** Waits until so many copies of a process say that they live. */
    copies: (process: string, copies: number) =>
      eventually(`${copies} copies of ${process}`, async () => {
        return (await sql`select from heartbeats where process = ${process}`).count === copies;
      }),
    async endWell(success: number) {
      await settled(stack);
      assertEquals([await readLedger(sql), await violations(stack)], [ledgerOf({ success }), []]);
    },
  };
}

Deno.test("what is held takes nothing, whoever ticks it, in no copy and after no restart, until it is resumed or its time is over; each step lets one event through", async (t) => {
  await using it = await stage({}, { apart: [] });
  const { sql } = it.db;
  const queue = it.broker.topology.queues.enrollmentsPaymentSucceeded.name;
  const cases: [process: string, part: string, reached: (orders: number, steps: number) => Counts][] = [
    // Paid by the orders' consumer, which hears of it as the held one does; told is two hops further: time to take another.
    ["enrollments-payment-succeeded", queue, (paid, steps) => ({ paid, told: steps, seats: steps })],
    ["outbox-relay", "relay", (_, steps) => ({ charged: steps, published: steps })],
  ];
  const everything = { times: 9, consumer: null, correlationId: null, delayMs: null };
  const points = ["relay.crash-before-publish", "delivery.lost", "provider.failing"] as const;
  await armFaults(sql, points.map((point) => ({ point, ...everything })), new Date());
  for (const [process, part, reached] of cases) {
    await t.step(process, async () => {
      await sql`truncate orders, payments, enrollments, notifications, outbox_events, processed_events`;
      assertEquals(await it.hold(part), [part]);
      await it.order(3);
      await call(it.url, "POST /ops/outbox/tick");
      await it.reach(reached(3, 0));
      await it.step(part);
      await it.reach(reached(3, 1));

      const copy = it.startCopy(process);
      await it.copies(process, 2);
      await it.order(4);
      await it.reach(reached(7, 1));
      await it.step(part);
      await it.reach(reached(7, 2));

      assertEquals(await it.stop(process), 0);
      it.start(process);
      await it.copies(process, 2);
      await it.order(1);
      await it.reach(reached(8, 2));
      assertEquals(await it.resume(part), []);
      await it.endWell(8);
      await copy.end("SIGTERM");

      await it.hold(part, { forSeconds: 1 });
      await it.order(1);
      await it.endWell(9); // without anybody's doing
      const [row] = await sql`
        select max(created_at) >= (select until from holds where part = ${part}) as late from enrollments`;
      assertEquals(row?.late, true);
    });
  }
  const struck = await sql`select from faults where remaining < 9`;
  assertEquals(struck.count, 0, "without FAULTS_ENABLED nobody looks at what is armed");
});

Deno.test("what is killed where it was held at a seam does all of it once", async (t) => {
  const [consumer, relay] = ["payments-order-created", "outbox-relay"];
  await using it = await stage({ FAULTS_ENABLED: "true" }, { apart: [consumer, relay] });

  await t.step("a consumer before its commit, which leaves nothing", async () => {
    const queue = it.broker.topology.queues.paymentsOrderCreated.name;
    const part = `${queue}.before-commit`;
    /** Whether a transaction of the consumer is open, and waits for whoever has begun it. */
    const isStopped = async () =>
      (await it.db.sql`
        select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'
          and application_name = ${`orderflow ${queue}`}`).count === 1;
    await it.hold(part);
    await it.order(1);
    await eventually("it to stop", isStopped);
    await it.reach({ charged: 0 });
    await it.kill(consumer);
    await eventually("its transaction to be gone", async () => !await isStopped());
    it.start(consumer);
    await eventually("it to stop again", isStopped);
    await it.reach({ charged: 0 });
    await it.step(part);
    await settled(it);
    await it.order(1);
    await eventually("the next one to stop", isStopped);
    await it.reach({ charged: 1 });
    await it.resume(part);
    await it.endWell(2);
  });

  await t.step("the relay before its mark, and the repeat is absorbed", async () => {
    const published = (await it.db.sql`select from outbox_events`).count; // all of the orders before
    await it.hold("relay.before-mark");
    await it.order(1);
    await it.reach({ charged: 3 }); // by what is not marked
    await it.reach({ published });
    await it.kill(relay);
    it.start(relay);
    await it.reach({ repeated: 1 });
    await it.reach({ published });
    await it.resume("relay.before-mark");
    await it.endWell(3);
  });
});
