import { assertEquals } from "@std/assert";
import { CONSUMED_TYPES } from "../shared/topology.ts";
import { runAudit } from "../shared/ops/audit.ts";
import { eventually } from "./support/eventually.ts";
import { countUnpublished, LEDGER_EVENTS, readLedger } from "./support/ledger.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack } from "./support/test_stack.ts";

shareTestSchema();

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const SCENARIOS = {
  "order-success": {
    orders: { COMPLETED: 1 },
    payments: { SUCCEEDED: 1 },
    enrollments: { GRANTED: 1 },
    notifications: { ORDER_COMPLETED: 1 },
    events: { "enrollment.granted": 1, "notification.sent": 1, "order.created": 1, "payment.succeeded": 1 },
  },
  "payment-failure": {
    orders: { PAYMENT_FAILED: 1 },
    payments: { FAILED: 1 },
    enrollments: {},
    notifications: { PAYMENT_FAILED: 1 },
    events: { "notification.sent": 1, "order.created": 1, "payment.failed": 1 },
  },
  "enrollment-failure": {
    orders: { REFUNDED: 1 },
    payments: { REFUND_SUCCEEDED: 1 },
    enrollments: { FAILED: 1 },
    notifications: { ORDER_REFUNDED: 1 },
    events: {
      "enrollment.failed": 1,
      "notification.sent": 1,
      "order.created": 1,
      "payment.succeeded": 1,
      "refund.requested": 1,
      "refund.succeeded": 1,
    },
  },
};

Deno.test("each scenario ends with exactly the payments, enrollments, notifications and events it should have", async () => {
  await using stack = await startStack({}, { apart: [] });
  const { sql } = stack.db;
  for (const [scenario, expected] of Object.entries(SCENARIOS)) {
    await sql`truncate orders, payments, enrollments, notifications, outbox_events, processed_events`;
    const response = await fetch(`${stack.url}/ops/scenarios/${scenario}`, {
      method: "POST",
      headers: { "x-correlation-id": `scenario-${scenario}`, traceparent: TRACEPARENT, tracestate: "rojo=1" },
    });
    assertEquals(response.status, 201);
    const { id } = await response.json();
    await eventually(`${scenario} to end`, async () => {
      const { notifications, orders } = await readLedger(sql);
      return orders[Object.keys(expected.orders)[0] ?? ""] === 1 && Object.keys(notifications).length === 1 &&
        await countUnpublished(sql) === 0;
    });
    assertEquals(await readLedger(sql), { ...expected, deadLetters: 0 });
    assertEquals((await runAudit(sql, stack.broker.topology, { graceSeconds: 0 })).ok, true);
    await assertTold(stack.url, id, Object.keys(expected.events), Object.keys(expected.orders)[0]);
    const [row] = await sql`select count(distinct correlation_id)::int as ids, min(correlation_id) as id,
      count(distinct traceparent)::int as traces, bool_and(tracestate is not distinct from 'rojo=1') as "isPassedOn" from outbox_events`;
    assertEquals({ ...row }, { ids: 1, id: `scenario-${scenario}`, traces: 1, isPassedOn: true });
  }
});

/** The timeline has every event as emitted and published, each that has consumers as processed, and the last status. */
async function assertTold(
  url: string,
  id: string,
  types: string[],
  status: string | undefined,
): Promise<void> {
  interface Entry {
    kind: string;
    eventType: string;
    to?: string;
  }
  const response = await fetch(`${url}/orders/${id}/timeline`);
  const { timeline }: { timeline: Entry[] } = await response.json();
  const typesOf = (kind: string) => {
    const told = new Set(timeline.filter((e) => e.kind === kind).map((e) => e.eventType));
    return LEDGER_EVENTS.filter((type) => told.has(type)).toSorted();
  };
  assertEquals(typesOf("emitted"), types);
  assertEquals(typesOf("published"), types);
  assertEquals(typesOf("processed"), types.filter((type) => CONSUMED_TYPES.has(type)));
  assertEquals(timeline.findLast((entry) => entry.kind === "status")?.to, status);
}
