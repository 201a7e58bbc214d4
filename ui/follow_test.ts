import { assert, assertEquals, assertRejects } from "@std/assert";
import { amqpProperties, duplicatesOf } from "./event_facts.ts";
import { createLatestOnly } from "./latest_only.ts";
import { entry, HELD_UP, REFUNDED, testId, testOrder, testPulse } from "./testdata/stories.ts";
import { isInPulse, withPulse } from "./use_orders.ts";
import { START_VIEW } from "./url_state.ts";
import { needsRereading } from "./use_story.ts";

Deno.test("createLatestOnly() never lets a late answer take the place of a newer one", async () => {
  const latestOnly = createLatestOnly();
  const [slow, quick] = [Promise.withResolvers<string>(), Promise.withResolvers<string>()];
  const answers = [latestOnly(() => slow.promise), latestOnly(() => quick.promise)];
  quick.resolve("new");
  slow.resolve("old");
  assertEquals(await Promise.all(answers), [null, "new"]);
});

Deno.test("createLatestOnly() passes on the failure of the last request, and of no other", async () => {
  const latestOnly = createLatestOnly();
  const [slow, quick] = [Promise.withResolvers<string>(), Promise.withResolvers<string>()];
  const [first, second] = [latestOnly(() => slow.promise), latestOnly(() => quick.promise)];
  slow.reject(new Error("late"));
  quick.reject(new Error("no answer"));
  assertEquals(await first, null);
  await assertRejects(() => second, Error, "no answer");
});

Deno.test("needsRereading() asks again while something is on its way, or when the list knows more", () => {
  const known = testPulse([REFUNDED.order]);
  assertEquals(needsRereading(REFUNDED, known), false);
  assertEquals(needsRereading(REFUNDED, testPulse([])), false);
  assertEquals(needsRereading(HELD_UP, testPulse([])), true);
  const changed = testPulse([{ ...REFUNDED.order, updatedAt: "2026-01-02T03:05:00.000Z" }]);
  assertEquals(needsRereading(REFUNDED, changed), true);
});

Deno.test("withPulse() brings a filtered list up to date, without what has left the filter", () => {
  const [stays, moves] = [testOrder({ id: testId(1) }), testOrder({ id: testId(2) })];
  const later = { ...moves, status: "PAID" as const, updatedAt: "2026-01-02T03:05:00.000Z" };
  const ids = (status: "PENDING" | null) =>
    withPulse([stays, moves], testPulse([later]), status).map(({ id, status }) =>
      `${id.slice(-1)} ${status}`
    );
  assertEquals(ids("PENDING"), ["1 PENDING"]);
  assertEquals(ids(null), ["1 PENDING", "2 PAID"]);
});

Deno.test("isInPulse() holds for the first page without filters alone", () => {
  const views = [{}, { status: "PAID" as const }, { search: "01" }, { limit: 50 }].map((view) => ({
    ...START_VIEW,
    ...view,
  }));
  assertEquals(views.map(isInPulse), [true, false, false, false]);
});

Deno.test("duplicatesOf() counts over all consumers of one event", () => {
  const duplicate = (n: number, consumer: string, duplicates: number) =>
    entry(1, n, "payment.succeeded", { kind: "duplicate", consumer, duplicates });
  const timeline = [duplicate(1, "a", 2), duplicate(1, "b", 1), duplicate(2, "a", 5)];
  assertEquals(duplicatesOf({ timeline }, testId(101)), 3);
});

Deno.test("amqpProperties() are what the relay sends", () => {
  const event = {
    id: testId(1),
    type: "order.created",
    orderId: testId(2),
    correlationId: "correlation-1",
    traceparent: null,
    payload: {},
    occurredAt: "2026-01-02T03:04:05.678Z",
    publishedAt: null,
    retryCount: 0,
    lastError: null,
    nextAttemptAt: null,
  };
  const names = (properties: [string, string][]) => properties.map(([name]) => name);
  assert(!names(amqpProperties(event)).includes("traceparent"));
  const sent = Object.fromEntries(amqpProperties({ ...event, traceparent: "00-a-b-01" }));
  assertEquals([sent["message-id"], sent["timestamp"], sent["traceparent"]], [
    testId(1),
    "1767323045",
    "00-a-b-01",
  ]);
});
