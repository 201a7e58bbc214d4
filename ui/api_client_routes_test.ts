import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../shared/process/config.ts";
import { insertDeadLetters } from "../shared/sql/set_aside.ts";
import { markingPublished } from "../shared/sql/outbox.ts";
import { markingProcessed } from "../shared/sql/inbox.ts";
import { testApp } from "../specs/support/test_app.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../specs/support/test_schema.ts";
import { type ApiClient, ApiError, createApiClient } from "./api_client.ts";

shareTestSchema();

const topology = topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));
const PAYMENTS = topology.queues.paymentsOrderCreated.name;

/** The page's client on the real routes, with a broker that is away. */
function clientOn(db: TestSchema, { faults = true } = {}): ApiClient {
  const { app } = testApp(db, faults ? { faults: topology } : {});
  return createApiClient(async (path, init) => await app.request(String(path), init));
}

Deno.test("the client reads what the routes of orders, outbox and inbox answer, page by page", async () => {
  await using db = await testSchema();
  const api = clientOn(db);
  const [scenario] = await api.listScenarios();
  const order = await api.playScenario(scenario?.name ?? "");
  await api.playScenario("order-success");

  const first = await api.listOrders({ limit: 1 });
  const second = await api.listOrders({ limit: 1, cursor: first.nextCursor });
  assertEquals(second.orders.map(({ id }) => id), [order.id]);
  assertEquals(
    (await api.listOrders({ status: "PENDING", search: order.id.slice(0, 13) })).orders.length > 0,
    true,
  );
  const story = await api.readStory(order.id);
  assertEquals(story.order.id, order.id);
  assertEquals(story.timeline.map(({ kind }) => kind), ["status", "emitted"]);

  const [event] = (await api.listOutbox({ orderId: order.id, published: false })).events;
  assert(event);
  await markingPublished(db.sql, [event.id]);
  await markingProcessed(db.sql, PAYMENTS, [event.id], new Date());
  assertEquals((await api.readEvent(event.id)).publishedAt === null, false);
  assertEquals((await api.listInbox({ consumer: PAYMENTS })).processedEvents.map((row) => row.eventId), [
    event.id,
  ]);
  assertEquals((await api.republish(event.id)).alreadyProcessedBy, [PAYMENTS]);
});

Deno.test("the client reads and discards dead letters, and says why they cannot be redriven", async () => {
  await using db = await testSchema();
  const api = clientOn(db);
  const letter = {
    consumer: PAYMENTS,
    eventId: null,
    eventType: null,
    aggregateId: null,
    correlationId: null,
    traceparent: null,
    reason: "unreadable",
    detail: "no JSON",
    attempts: 1,
  };
  const bodies = ["<b>one</b>", "two", "three"].map((text) => new TextEncoder().encode(text));
  await insertDeadLetters(db.sql, bodies.map((body) => ({ ...letter, body })));

  const { deadLetters } = await api.listDeadLetters({
    state: "OPEN",
    consumer: PAYMENTS,
    reason: "unreadable",
  });
  assertEquals(deadLetters.map(({ body }) => body).sort(), ["<b>one</b>", "three", "two"]);
  const error = await assertRejects(() => api.redriveLetter(deadLetters[0]?.id ?? ""), ApiError);
  assertEquals(error.status, 503);
  assertStringIncludes(error.message, "The broker cannot be reached");
  assertEquals(await api.discardLetter(deadLetters[0]?.id ?? "", "a test"), 1);
  assertEquals(await api.discardLetters({ consumer: PAYMENTS, orderId: "" }, "a test"), 2);
});

Deno.test("the client takes a replay from its dry run to its end, and reads what is armed and audited", async () => {
  await using db = await testSchema();
  const api = clientOn(db);
  const order = await api.playScenario("order-success");
  const { events } = await api.listOutbox({ orderId: order.id });
  await markingPublished(db.sql, events.map(({ id }) => id));

  const prepared = await api.prepareReplay({ orderId: order.id, type: "", from: undefined });
  assertEquals([prepared.total, prepared.state, prepared.events.length], [1, "PREPARED", 1]);
  assertEquals((await api.listReplayEvents(prepared.id)).events, prepared.events);
  assertEquals((await api.startReplay(prepared.id, 50)).ratePerSecond, 50);
  assertEquals((await api.readReplay(prepared.id)).state, "RUNNING");
  assertEquals((await api.cancelReplay(prepared.id)).state, "CANCELLED");
  assertEquals((await api.listReplays()).replays.map(({ id, filter }) => [id, filter]), [
    [prepared.id, { orderId: order.id }],
  ]);

  const [armed] = await api.putFaults([
    { point: "delivery.duplicate", times: 2, consumer: PAYMENTS, correlationId: null, delayMs: null },
  ]);
  const faults = await api.listFaults();
  assertEquals([faults.armed, faults.points.length > 10], [armed ? [armed] : [], true]);
  const audit = await api.readAudit(120);
  assertEquals([audit.ok, audit.orders, audit.waitingForOperator.count], [true, 1, 0]);
});

Deno.test("where faults are off the client's error has the status 404", async () => {
  await using db = await testSchema();
  const error = await assertRejects(() => clientOn(db, { faults: false }).listFaults(), ApiError);
  assertEquals(error.status, 404);
});
