import { assert, assertEquals } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import type { Publisher } from "../../shared/broker/publish.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { announceRetries, listenForWakeUps } from "../../shared/sql/outbox.ts";
import { insertRetries, type NewRetry } from "../../shared/sql/set_aside.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { openWire, type TestBroker, testBroker } from "../../specs/support/test_broker.ts";
import { newRetry } from "../../specs/support/test_events.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { keepRetrying, sendDue } from "./retries.ts";

shareTestSchema();

Deno.test("sendDue() sends what is due to its consumer alone, byte for byte and with its past; who has no queue gets it later", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await openWire(broker);
  const retry = { ...retryFor(broker), tracestate: "rojo=1" };
  const later = { ...retryFor(broker), delayMs: 60_000 };
  await insertRetries(db.sql, [retry, { ...retry, consumer: "nobody" }, later]);
  const { sent, refused, nextDueInMs: nextMs } = await sendDue(db.as("orderflow_relay"), wired.publisher);
  assertEquals([sent, refused.map(({ consumer, events }) => [consumer, events])], [1, [["nobody", 1]]]);
  assert(nextMs !== null && nextMs > 1000, String(nextMs));
  assertEquals(await readWaiting(db.sql), ["nobody", retry.consumer]);
  const { content, properties } = await eventually(
    "the message",
    () => wired.channel.get(retry.consumer, { noAck: true }),
  );
  assertEquals(content.toString(), new TextDecoder().decode(retry.body));
  const { messageId, type, correlationId, headers } = properties;
  assertEquals([messageId, type, correlationId], [retry.eventId, "order.created", retry.correlationId]);
  const { "x-retries": retries, "x-age-ms": ageMs, traceparent, tracestate } = headers ?? {};
  assertEquals([retries, traceparent, tracestate], [2, retry.traceparent, "rojo=1"]);
  assert(Number.isInteger(ageMs) && ageMs >= retry.ageMs && ageMs < retry.ageMs + 60_000, `${ageMs} ms`);
  assertEquals(await wired.channel.get(retry.consumer), false);
});

Deno.test("sendDue() waits for a silent broker once, and for all consumers together no longer than for one", async () => {
  await using db = await testSchema();
  const consumers = ["a", "b", "c"];
  await insertRetries(db.sql, consumers.map((consumer) => newRetry(consumer)));
  const timeouts: number[] = [];
  const publisher: Publisher = {
    async publish(messages, _route, timeoutMs) {
      timeouts.push(timeoutMs);
      await delay(5);
      const ids = messages.map(({ id }) => id);
      const [confirmed, unknown] = timeouts.length === 1 ? [ids, []] : [[], ids];
      return { confirmed, refused: [], unknown, offence: null };
    },
  };
  const { sent, nextDueInMs } = await sendDue(db.as("orderflow_relay"), publisher);
  assertEquals([sent, nextDueInMs, timeouts.length], [1, null, 2]);
  const [first = 0, second = 0] = timeouts;
  assert(first < 60_000 && second < first, `${timeouts}`); // after 60 s the database ends an idle transaction
  assertEquals((await readWaiting(db.sql)).length, 2);
});

Deno.test("keepRetrying() wakes for a new retry and sends it when it is due, far ahead of its poll", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await openWire(broker);
  const stop = new AbortController();
  const sql = db.as("orderflow_relay");
  const retrying = keepRetrying(
    { sql, publisher: () => wired.publisher, pollIntervalMs: 3_600_000, log: testLog },
    stop.signal,
  );
  const unlisten = await listenForWakeUps(sql, (why) => why === "retries" && retrying.wake());
  for (let round = 0; round < 3; round++) {
    await insertRetries(db.sql, [{ ...retryFor(broker), delayMs: 30 }]);
    await announceRetries(db.as("orderflow_payments"));
    await eventually(
      "the message",
      () => wired.channel.get(broker.topology.queues.paymentsOrderCreated.name),
    );
  }
  stop.abort();
  await retrying.running;
  await unlisten();
});

function retryFor({ topology }: TestBroker): NewRetry {
  return newRetry(topology.queues.paymentsOrderCreated.name);
}

async function readWaiting(sql: Sql): Promise<string[]> {
  const rows = await sql`select consumer from delayed_retries where due_at is not null order by 1`;
  return rows.map(({ consumer }) => consumer);
}
