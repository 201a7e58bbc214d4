import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import { tickRelay } from "../../shared/sql/outbox.ts";
import { holdPart } from "../../shared/ops/holds.ts";
import { beat, type SeenHeartbeat } from "../../shared/process/heartbeat.ts";
import { type LivePulse, livePulseSchema } from "../../shared/ops/live.ts";
import { call } from "../../specs/support/http.ts";
import { newHeartbeat, ORDER } from "../../specs/support/test_events.ts";
import { serve, type ServedApp, testApp } from "../../specs/support/test_app.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { startCutProxy } from "../../specs/support/cut_proxy.ts";
import { connect } from "../../shared/sql/connect.ts";
import { buildPulse, createLiveFeed, type Reading, remember, type Samples, saysTheSame } from "./live.ts";

shareTestSchema();

/** Reads a stream of server-sent events: no more of it than is asked for. */
function follow(body: ReadableStream<Uint8Array> | null) {
  assert(body);
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  /** The next event; undefined once the stream has ended. */
  async function next(): Promise<string | undefined> {
    while (!text.includes("\n\n")) {
      const { value, done } = await reader.read();
      if (done) return undefined;
      text += decoder.decode(value, { stream: true });
    }
    const [event, ...rest] = text.split("\n\n");
    text = rest.join("\n\n");
    return event;
  }
  /** The next pulse that answers `wanted`; by default any. */
  async function until(wanted: (pulse: LivePulse) => boolean = () => true): Promise<LivePulse> {
    for (let seen = 0; seen < 200; seen++) {
      const event = await next();
      if (event?.startsWith("retry:")) continue;
      assert(event, "the stream has ended");
      const pulse = livePulseSchema.parse(JSON.parse(/^event: pulse\ndata: (.*)$/.exec(event)?.[1] ?? ""));
      if (wanted(pulse)) return pulse;
    }
    throw new Error("the pulse did not come");
  }
  return { next, until, [Symbol.asyncDispose]: () => reader.cancel() };
}

async function open({ url }: ServedApp) {
  const response = await fetch(`${url}/ops/live`);
  return { response, ...follow(response.body) };
}

function feedOn(db: TestSchema, more: Partial<Parameters<typeof createLiveFeed>[0]> = {}) {
  const sql = db.as("orderflow_ops");
  return createLiveFeed({ sql, readQueues: () => Promise.resolve(null), log: testLog, ...more });
}

const placeOrder = async ({ url }: ServedApp): Promise<string> => (await call(url, "POST /orders", ORDER)).id;

Deno.test("GET /ops/live tells at once how everything stands, and a new order or hold without being asked again", async () => {
  await using db = await testSchema();
  await using api = serve(testApp(db));
  await beat(db.sql, newHeartbeat({ counts: { published: 3 } }));
  await using stream = await open(api);
  const { response } = stream;
  assertEquals([response.status, response.headers.get("cache-control")], [200, "no-store"]);
  assertEquals(await stream.next(), "retry: 1000");
  const first = await stream.until();
  assertEquals([first.orders, first.queues, first.outbox], [[], null, { pending: 0, oldestSeconds: 0 }]);
  assertEquals(first.processes.map(({ name, isStale, counts }) => [name, isStale, counts]), [
    ["outbox-relay", false, { published: 3 }],
  ]);
  const id = await placeOrder(api);
  const next = await stream.until(({ orders }) => orders.length > 0);
  assertEquals(next.orders.map((each) => [each.id, each.status]), [[id, "PENDING"]]);
  assertEquals(next.outbox.pending, 1);
  await holdPart(db.as("orderflow_ops"), { part: "relay", forSeconds: 600, because: "a look" });
  const { holds: [held] } = await stream.until(({ holds }) => holds.length > 0);
  assertEquals([held?.part, held?.because, held?.steps], ["relay", "a look", 0]);
  assertEquals(Date.parse(held?.until ?? "") - Date.parse(held?.since ?? ""), 600_000);
});

Deno.test("GET /ops/live has one reader for any number of pages, and lets in no more than fifty", async () => {
  await using db = await testSchema();
  let reads = 0;
  const live = feedOn(db, { readQueues: () => Promise.resolve((reads++, null)) });
  await using api = serve(testApp(db, { live }));
  for (let n = 0; n < 60; n++) {
    const head = await fetch(`${api.url}/ops/live`, { method: "HEAD" }); // takes no place
    assertEquals([head.status, head.headers.get("cache-control")], [200, "no-store"]);
  }
  const streams = await Promise.all(Array.from({ length: 50 }, () => open(api)));
  try {
    const full = await fetch(`${api.url}/ops/live`);
    assertEquals([full.status, full.headers.get("retry-after")], [503, "5"]);
    await full.body?.cancel();
    const before = reads;
    const id = await placeOrder(api);
    const seen = await Promise.all(streams.map((each) => each.until(({ orders }) => orders.length > 0)));
    assertEquals(new Set(seen.map(({ orders }) => orders[0]?.id)), new Set([id]));
    assert(reads - before < 20, `read ${reads - before} times for 50 pages`);
  } finally {
    await Promise.all(streams.map((stream) => stream[Symbol.asyncDispose]()));
  }
  await eventually("room for one more", async () => {
    const response = await fetch(`${api.url}/ops/live`);
    await response.body?.cancel();
    return response.ok;
  });
});

Deno.test("the live feed reads only while somebody listens", async () => {
  await using db = await testSchema();
  let reads = 0;
  const live = feedOn(db, { readQueues: () => Promise.resolve((reads++, null)) });
  const first = follow(live.join());
  await first.until();
  await first[Symbol.asyncDispose]();
  await db.sql`select 1`; // a reading that was under way is over by the next
  const after = reads;
  await tickRelay(db.sql);
  await delay(500); // twice what lies between two pulses
  assertEquals(reads, after);
  await follow(live.join()).until(); // it reads again for the next one
  await live.close();
});

Deno.test("a page that reads slowly is not buffered for: it gets the newest pulse when it comes back", async () => {
  await using db = await testSchema();
  const app = testApp(db);
  await using api = serve(app);
  const { live } = app.deps;
  const [slow, quick] = [follow(live.join()), follow(live.join())];
  for (let placed = 1; placed <= 3; placed++) {
    await placeOrder(api);
    await quick.until(({ orders }) => orders.length === placed);
  }
  assertEquals((await slow.until()).orders.length, 3);
  await live.close();
  assertEquals([await slow.next(), await quick.next(), live.join()], [undefined, undefined, null]);
});

Deno.test("whoever asks for two pulses at once gets two, and not the same one twice", async () => {
  await using db = await testSchema();
  const live = feedOn(db);
  const reader = live.join()?.getReader();
  const texts = Array.from(
    { length: 3 },
    async () => new TextDecoder().decode((await reader?.read())?.value),
  );
  const [, first] = await Promise.all(texts.slice(0, 2));
  await holdPart(db.sql, { part: "relay", forSeconds: 60, because: null });
  const second = await texts[2];
  assertStringIncludes(first ?? "", '"holds":[]');
  assertStringIncludes(second ?? "", '"part":"relay"');
  await live.close();
});

Deno.test("who has stopped reading is dropped, and its place is for somebody who reads", async () => {
  await using db = await testSchema();
  const live = feedOn(db, { stalledMs: 300 });
  const { app, call } = testApp(db, { live });
  const place = () => call("POST /orders", ORDER);
  const unread = await Promise.all(Array.from({ length: 50 }, () => app.request("/ops/live")));
  assertEquals((await app.request("/ops/live")).status, 503, "all places are taken");
  const reading = await eventually("a place to be free", async () => {
    await place();
    const response = await app.request("/ops/live");
    return response.ok && response;
  });
  const reader = reading.body?.getReader();
  for (let pulses = 0; pulses < 3; pulses++) {
    assertEquals((await reader?.read())?.done, false, "who reads stays");
    await place();
  }
  await reader?.cancel();
  const [dropped] = unread;
  const error = await assertRejects(() => dropped?.text() ?? Promise.resolve());
  assertStringIncludes(String(error), "reads no more");
  await live.close();
});

Deno.test("while the database is away the stream stays open and silent, and goes on when it is back", async () => {
  await using db = await testSchema();
  await using wire = startCutProxy(db.url, 5432);
  const sql = connect(wire.url, { name: "test", role: "orderflow_ops", max: 2 });
  try {
    const live = feedOn(db, { sql });
    await using api = serve(testApp(db, { live }));
    await using stream = await open(api);
    await stream.until();
    wire.cut();
    const cutAt = Date.now();
    await placeOrder(api);
    wire.restore();
    const { at } = await stream.until(({ orders }) => orders.length > 0);
    assert(Date.parse(at) >= cutAt, "nothing older than the outage is told as new");
  } finally {
    await sql.end({ timeout: 1 });
  }
});

const START = Date.UTC(2026, 0, 1);

/** A heartbeat that came `atMs` after the start and is `ageMs` old. */
function heartbeat(
  atMs: number,
  counts: Record<string, number>,
  more: Partial<SeenHeartbeat> = {},
): SeenHeartbeat {
  return {
    ...newHeartbeat({ instance: "a", startedAt: new Date(START), counts }),
    host: "127.0.0.1",
    seenAt: new Date(START + atMs),
    ageMs: 0,
    ...more,
  };
}

const reading: Reading = {
  at: new Date(START + 10_000),
  orders: [{
    id: "o",
    userId: "u",
    courseId: "c",
    amount: "49.90",
    status: "PAID",
    correlationId: "x",
    createdAt: new Date(START),
    updatedAt: new Date(START + 5),
  }],
  unpublished: { count: 3, oldestAt: new Date(START + 8500) },
  queues: [{ queue: "q", messages: 2, consumers: 1 }],
  heartbeats: [heartbeat(9000, { published: 2 })],
  deadLetters: [{ consumer: "q", count: 4 }],
  retries: [],
  holds: [{
    part: "q",
    sinceAt: new Date(START),
    untilAt: new Date(START + 600_000),
    steps: 2,
    because: "look",
  }],
  latencies: [30, 10, 20],
};

const pulseOf = (more: Partial<Reading> = {}, samples: Samples = new Map()) =>
  buildPulse({ ...reading, ...more }, samples);

Deno.test("a pulse says how everything stands, in the shape that the page reads", () => {
  const pulse = pulseOf();
  assertEquals(livePulseSchema.parse(JSON.parse(JSON.stringify(pulse))), pulse);
  assertEquals(pulse.outbox, { pending: 3, oldestSeconds: 1.5 });
  assertEquals([pulse.deadLetters, pulse.retries], [{ q: 4 }, {}]);
  const [since, until] = ["2026-01-01T00:00:00.000Z", "2026-01-01T00:10:00.000Z"];
  assertEquals(pulse.holds, [{ part: "q", since, until, steps: 2, because: "look" }]);
  const away = pulseOf({ queues: null, unpublished: { count: 0, oldestAt: null } });
  assertEquals([away.queues, away.outbox.oldestSeconds], [null, 0]);
});

Deno.test("a rate is what all copies have counted per second between their first and last heartbeat, of late", () => {
  const published = (atMs: number, count: number, more: Partial<SeenHeartbeat> = {}) =>
    heartbeat(atMs, { published: count }, more);
  const b = { instance: "b" };
  const cases: [rate: number, readings: SeenHeartbeat[][]][] = [
    [100 + 10, [
      [published(0, 100), published(1000, 7, b)],
      [published(2000, 300), published(1000, 7, b)],
      [published(4000, 500), published(3000, 27, b)],
    ]],
    [0, [[published(0, 100)]]], // one heartbeat says nothing
    [0, [[published(0, 0)], [published(2000, 100)], [published(7000, 100)], [published(12_000, 100)]]], // idle since
    [0, [[published(0, 0)], [published(2000, 100)], [published(2000, 100, { ageMs: 9000 })]]], // it was killed
  ];
  for (const [events, readings] of cases) {
    const samples = readings.reduce<Samples>(remember, new Map());
    assertEquals(pulseOf({}, samples).rates, { orders: 0, events, processed: 0 });
  }
  assertEquals(
    remember(remember(new Map(), [heartbeat(0, {})]), []).size,
    0,
    "a copy that is gone is forgotten",
  );
});

Deno.test("the latency is what half of the orders, and 99 of 100, did not exceed", () => {
  const cases: [latencies: number[], p50: number | null, p99: number | null][] = [
    [Array.from({ length: 100 }, (_, i) => 100 - i), 50, 99],
    [[30, 10, 20], 20, 30],
    [[7], 7, 7],
    [[], null, null],
  ];
  for (const [latencies, p50, p99] of cases) assertEquals(pulseOf({ latencies }).latency, { p50, p99 });
});

Deno.test("a silent copy is stale, until another has started in its place", () => {
  const processesOf = (...heartbeats: SeenHeartbeat[]) =>
    pulseOf({ heartbeats }).processes.map(({ name, instance, isStale }) => [name, instance, isStale]);
  const silent = heartbeat(0, {}, { ageMs: 20_000 });
  assertEquals(processesOf(silent), [["outbox-relay", "a", true]]);
  const beside = heartbeat(19_000, {}, { instance: "b", ageMs: 1000 });
  assertEquals(processesOf(beside, silent), [["outbox-relay", "b", false], ["outbox-relay", "a", true]]);
  const next = { ...beside, startedAt: new Date(START + 15_000) };
  assertEquals(processesOf(next, silent), [["outbox-relay", "b", false]]);
  assertEquals(processesOf({ ...next, process: "api" }, silent).length, 2);
});

Deno.test("saysTheSame() looks past the times at which it was read and the processes were seen", () => {
  const later = { at: new Date(START + 11_000), heartbeats: [heartbeat(9900, { published: 2 })] };
  const unpublished = { count: 3, oldestAt: new Date(START + 9500) };
  assertEquals(saysTheSame(pulseOf(), pulseOf({ ...later, unpublished })), true);
  assertEquals(saysTheSame(pulseOf(), pulseOf({ ...later, deadLetters: [] })), false);
});
