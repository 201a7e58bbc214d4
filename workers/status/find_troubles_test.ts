import { assertEquals } from "@std/assert";
import { findTroubles } from "./find_troubles.ts";
import { AT, figures, liveProcess, systemStatus } from "./testdata/statuses.ts";

const expected = ["outbox-relay", "payments-order-created"];

Deno.test("findTroubles() has nothing to say of a system that is busy, retries, replays, and has faults armed", () => {
  const busy = figures({
    outbox: { pending: 5000, oldestSeconds: 29 },
    queues: [{ queue: "payments.order-created.v1", messages: 900, consumers: 3 }],
    retries: { "payments.order-created.v1": 2 },
    replays: [{ id: "r", total: 5, sent: 1, lastError: "no route" }],
    faults: [{ point: "provider.slow", consumer: null, times: 1 }],
  });
  assertEquals(findTroubles(systemStatus(busy), expected), []);
});

Deno.test("findTroubles() names each thing that needs attention, with what to do", () => {
  const broken = figures({
    outbox: { pending: 7, oldestSeconds: 95 },
    queues: [
      { queue: "payments.order-created.v1", messages: 1, consumers: 0 },
      { queue: "orders.payment-events.v1", messages: 0, consumers: 1 },
    ],
    processes: [
      liveProcess({
        name: "payments-order-created",
        isStale: true,
        seenAt: new Date(Date.parse(AT) - 64_000).toISOString(),
      }),
    ],
    deadLetters: { "payments.order-created.v1": 1, "orders.payment-events.v1": 12 },
  });
  const redrive = (consumer: string) =>
    `look at them with deno task redrive --consumer=${consumer} --dry-run`;
  assertEquals(findTroubles(systemStatus(broken), expected), [
    "payments-order-created (process 7 on 127.0.0.1) has been silent for 1 min 4 s: it was killed, or is stuck",
    "no outbox-relay runs: start one with deno task worker:outbox-relay",
    "nobody consumes payments.order-created.v1, where 1 message waits",
    "7 events wait in the outbox, the oldest for 1 min 35 s: is the relay running, and does the broker take it? " +
    "/ops/outbox?published=false has its last error",
    `1 dead letter of payments.order-created.v1: ${redrive("payments.order-created.v1")}`,
    `12 dead letters of orders.payment-events.v1: ${redrive("orders.payment-events.v1")}`,
  ]);
});

Deno.test("findTroubles() says which service is away, and where there are no figures", () => {
  const database = "the database cannot be reached: nothing goes on until it is back";
  const broker = "the broker cannot be reached: events wait in the outbox until it is back";
  const slow = "the database does not answer in time: there are no figures";
  assertEquals(findTroubles({ ...systemStatus(null), database: "down" }, expected), [database]);
  assertEquals(findTroubles({ ...systemStatus(null), database: "down", broker: "down" }, expected), [
    database,
    broker,
  ]);
  assertEquals(findTroubles(systemStatus(null), expected), [slow]);
  const away = { ...systemStatus(figures({ queues: null })), broker: "down" as const };
  assertEquals(findTroubles(away, expected), [broker]);
});
