import { appendEvents } from "../support/test_events.ts";
import { assert, assertEquals } from "@std/assert";
import { type EventData, makeEvent, parseEvent } from "../../shared/events.ts";
import { findOrder } from "../../shared/sql/orders.ts";
import { shareTestSchema, testSchema } from "../support/test_schema.ts";
import { fillOutbox } from "./fill_outbox.ts";

shareTestSchema();

const until = new Date("2026-01-02T03:04:05.678Z");

interface Row {
  readonly id: string;
  readonly orderId: string;
  readonly correlationId: string;
  readonly traceparent: string;
  readonly body: string;
  readonly occurredAt: Date;
  readonly isPublished: boolean;
}

async function readRows({ sql }: Awaited<ReturnType<typeof testSchema>>): Promise<Row[]> {
  return await sql<Row[]>`
    select id, order_id as "orderId", correlation_id as "correlationId", traceparent, payload::text as body,
           occurred_at as "occurredAt", published_at is not null as "isPublished"
    from outbox_events order by id`;
}

Deno.test("fillOutbox() leaves what appending such events would have left, byte for byte", async () => {
  await using db = await testSchema();
  await fillOutbox(db.sql, { events: 9, published: false, until });
  const filled = await readRows(db);
  assertEquals(filled.length, 9);
  assertEquals(filled.at(-1)?.occurredAt, until);
  await db.sql`truncate outbox_events`;
  const again = filled.map(({ body, correlationId, traceparent, occurredAt }) => {
    const parsed = parseEvent(new TextEncoder().encode(body));
    assert(parsed.ok && parsed.event.type === "order.created");
    const data: EventData<"order.created"> = parsed.event.data;
    const made = makeEvent("order.created", data, { correlationId, traceparent }, occurredAt);
    return { ...made, event: { ...made.event, eventId: parsed.event.eventId } };
  });
  await appendEvents(db.sql, again);
  assertEquals(await readRows(db), filled);
});

Deno.test("fillOutbox() gives distinct ids in the order of time, over more than one statement", async () => {
  await using db = await testSchema();
  await fillOutbox(db.sql, { events: 20_001, published: true, until });
  const [found] = await db.sql`
    select count(distinct id)::int as ids, count(distinct order_id)::int as orders,
           count(distinct correlation_id)::int as correlations, count(distinct traceparent)::int as traces,
           count(published_at)::int as published, count(*) filter (where ms <> occurred_ms)::int as strays
    from (
      select *, (extract(epoch from occurred_at) * 1000)::bigint as occurred_ms,
             ('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint as ms
      from outbox_events
    ) as events`;
  assertEquals(found, {
    ids: 20_001,
    orders: 20_001,
    correlations: 20_001,
    traces: 20_001,
    published: 20_001,
    strays: 0,
  });
});

Deno.test("fillOutbox() makes the same events again in another database, whatever their number", async () => {
  await using db = await testSchema();
  await fillOutbox(db.sql, { events: 5, published: false, until });
  const first = await readRows(db);
  await db.sql`truncate outbox_events`;
  await fillOutbox(db.sql, { events: 5, published: false, until });
  assertEquals(await readRows(db), first);
});

Deno.test("fillOutbox() adds the orders where it is asked to", async () => {
  await using db = await testSchema();
  await fillOutbox(db.sql, { events: 3, published: false, until, orders: true });
  for (const { orderId, correlationId, occurredAt } of await readRows(db)) {
    const order = await findOrder(db.sql, orderId);
    assertEquals([order?.status, order?.correlationId, order?.createdAt], [
      "PENDING",
      correlationId,
      occurredAt,
    ]);
  }
});
