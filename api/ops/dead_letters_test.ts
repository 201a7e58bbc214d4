import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { connect } from "amqplib";
import { bindingsOf, declareTopology } from "../../shared/broker/connection.ts";
import { createPublisher, type OutgoingMessage, type Publisher } from "../../shared/broker/publish.ts";
import type {
  LetterGroupJson,
  OperationJson,
  PreparedReplay,
  ReplayEventJson,
} from "../../shared/ops/answers.ts";
import { claimOpenLetters } from "../../shared/ops/dead_letters.ts";
import { cancelReplay, discardSet, prepareLetters, takeUpLetters } from "../../shared/ops/replays.ts";
import { transaction } from "../../shared/sql/connect.ts";
import { insertDeadLetters } from "../../shared/sql/set_aside.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { type TestBroker, testBroker } from "../../specs/support/test_broker.ts";
import { appendEvents, newLetter, orderCreated } from "../../specs/support/test_events.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import type { App } from "../http.ts";

shareTestSchema();

interface Wire extends AsyncDisposable {
  readonly publisher: Publisher;
  readonly queue: string;
  readonly otherQueue: string;
  /** The bodies in a queue, taken out. */
  take(queue: string): Promise<string[]>;
}

async function wire(broker: TestBroker): Promise<Wire> {
  const model = await connect(broker.url);
  const channel = await model.createConfirmChannel();
  await declareTopology(channel, broker.topology);
  return {
    publisher: createPublisher(channel),
    queue: broker.topology.queues.paymentsOrderCreated.name,
    otherQueue: broker.topology.queues.ordersPaymentEvents.name,
    async take(queue) {
      const bodies: string[] = [];
      for (let message; (message = await channel.get(queue, { noAck: true }));) {
        bodies.push(message.content.toString());
      }
      return bodies;
    },
    [Symbol.asyncDispose]: () => model.close(),
  };
}

function appOn(db: TestSchema, publisher: Publisher | null): App {
  return testApp(db, { publisher: () => publisher }).app;
}

const post = (body: unknown): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});

async function jsonOf(app: App, path: string, init?: RequestInit) {
  return await (await app.request(path, init)).json();
}

async function states(db: TestSchema): Promise<string[]> {
  const rows = await db.sql`select state, resolution from dead_letters order by id`;
  return rows.map(({ state, resolution }) => `${state} ${resolution}`);
}

Deno.test("POST /dead-letters/:id/redrive sends the letter as it was received, to its own consumer alone", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const broken = newLetter(wired.queue, { body: new TextEncoder().encode("{ not json"), eventId: null });
  await insertDeadLetters(db.sql, [broken]);
  const [row] = await db.sql`select id from dead_letters`;
  const app = appOn(db, wired.publisher);
  const response = await app.request(`/ops/dead-letters/${row?.id}/redrive`, { method: "POST" });
  const { setId, ...answer } = await response.json();
  assertEquals(answer, { redriven: 1, alreadyProcessed: 0, refused: [], gone: 0, left: 0 });
  assertEquals((await jsonOf(app, `/ops/replays/${setId}`)).state, "DONE");
  await eventually("the message", async () => (await wired.take(wired.queue))[0] === "{ not json");
  assertEquals(await wired.take(wired.otherQueue), []);
  assertEquals(await states(db), ["REDRIVEN redriven"]);
  assertEquals((await app.request(`/ops/dead-letters/${row?.id}/redrive`, { method: "POST" })).status, 409);
  assertEquals(
    (await app.request(`/ops/dead-letters/${crypto.randomUUID()}/redrive`, { method: "POST" })).status,
    404,
  );
});

Deno.test("a letter whose body was cut is not sent, whoever asks, and says why", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  await insertDeadLetters(db.sql, [newLetter(wired.queue, { cutFrom: 5_000_000 })]);
  const [row] = await db.sql`select id from dead_letters`;
  const app = appOn(db, wired.publisher);
  for (const path of [`${row?.id}/redrive`, "redrive"]) {
    const answer = await (await app.request(`/ops/dead-letters/${path}`, post({}))).json();
    assertEquals([answer.redriven, answer.refused[0].id], [0, row?.id]);
    assert(answer.refused[0].error.startsWith("only its beginning was kept"), answer.refused[0].error);
  }
  assertEquals(await wired.take(wired.queue), []);
  assertEquals((await db.sql`select from dead_letters where state = 'OPEN'`).count, 1);
});

Deno.test("a redriven event goes on with the trace that it began in", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const { event, traceparent } = orderCreated();
  await appendEvents(db.sql, [{ event, traceparent }]);
  await insertDeadLetters(db.sql, [newLetter(wired.queue, { eventId: event.eventId })]);
  const sent: OutgoingMessage[] = [];
  const publisher: Publisher = {
    publish(messages, route, timeoutMs) {
      sent.push(...messages);
      return wired.publisher.publish(messages, route, timeoutMs);
    },
  };
  await appOn(db, publisher).request("/ops/dead-letters/redrive", post({ consumer: wired.queue }));
  assertEquals(sent.map((message) => message.traceparent), [traceparent]);
});

Deno.test("POST /dead-letters/redrive takes those that match, and says which were processed meanwhile", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const [first, done] = [newLetter(wired.queue), newLetter(wired.queue)];
  await insertDeadLetters(db.sql, [first, done, newLetter(wired.otherQueue)]);
  await db.sql`insert into processed_events values (${done.eventId}, ${wired.queue}, now())`;
  const app = appOn(db, wired.publisher);
  const response = await app.request("/ops/dead-letters/redrive", post({ consumer: wired.queue }));
  const { redriven, alreadyProcessed, refused } = await response.json();
  assertEquals([redriven, alreadyProcessed, refused], [1, 1, []]);
  assertEquals((await states(db)).toSorted(), [
    "DISCARDED already processed",
    "OPEN null",
    "REDRIVEN redriven",
  ]);
  const [body] = await wired.take(wired.queue);
  assertEquals(body, new TextDecoder().decode(first.body));
  assertEquals((await app.request("/ops/dead-letters/redrive", post({ consumers: "typo" }))).status, 400);
});

Deno.test("a letter that the broker does not take stays open, and the answer says why", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  await insertDeadLetters(db.sql, [newLetter("no.such.queue")]);
  const response = await appOn(db, wired.publisher).request("/ops/dead-letters/redrive", post({}));
  const { redriven, refused } = await response.json();
  assertEquals([redriven, refused.length, refused[0].error], [0, 1, "returned by the broker: NO_ROUTE"]);
  assertEquals(await states(db), ["OPEN null"]);
  assertEquals((await appOn(db, null).request("/ops/dead-letters/redrive", post({}))).status, 503);
});

Deno.test("POST /dead-letters/…/discard closes letters with the reason given, and needs one", async () => {
  await using db = await testSchema();
  await insertDeadLetters(
    db.sql,
    [newLetter("payments"), newLetter("payments"), newLetter("orders")],
  );
  const app = appOn(db, null);
  assertEquals((await app.request("/ops/dead-letters/discard", post({ consumer: "payments" }))).status, 400);
  const response = await app.request(
    "/ops/dead-letters/discard",
    post({ consumer: "payments", because: "a test order" }),
  );
  assertEquals((await response.json()).discarded, 2);
  const [open] = await db.sql`select id from dead_letters where state = 'OPEN'`;
  const one = await app.request(`/ops/dead-letters/${open?.id}/discard`, post({ because: "another" }));
  assertEquals((await one.json()).discarded, 1);
  assertEquals(await states(db), ["DISCARDED a test order", "DISCARDED a test order", "DISCARDED another"]);
});

Deno.test("GET /dead-letters filters by state, consumer, reason and order, and pages", async () => {
  await using db = await testSchema();
  const [a, b] = [newLetter("payments"), newLetter("orders", { reason: "not JSON" })];
  await insertDeadLetters(db.sql, [a, b, newLetter("orders")]);
  const app = appOn(db, null);
  const list = async (query: string) => {
    const response = await app.request(`/ops/dead-letters?${query}`);
    const { deadLetters, nextCursor } = await response.json();
    return { consumers: deadLetters.map(({ consumer }: { consumer: string }) => consumer), nextCursor };
  };
  assertEquals((await list("consumer=orders")).consumers, ["orders", "orders"]);
  assertEquals((await list(`orderId=${a.aggregateId}`)).consumers, ["payments"]);
  assertEquals((await list("reason=not%20JSON")).consumers, ["orders"]);
  assertEquals((await list("state=REDRIVEN")).consumers, []);
  const { nextCursor } = await list("limit=2");
  assert(nextCursor);
  assertEquals((await list(`cursor=${nextCursor}`)).consumers, ["payments"]);
  assertEquals((await app.request("/ops/dead-letters?state=lost")).status, 400);
});

Deno.test("letters are chosen by type, time and ids too, in the list and for an action alike", async () => {
  await using db = await testSchema();
  const at = (minute: number) => new Date(Date.UTC(2026, 0, 1, 0, minute));
  for (const [minute, eventType] of ["order.created", "payment.failed", "order.created"].entries()) {
    await insertDeadLetters(db.sql, [newLetter("payments", { eventType })]);
    await db.sql`
      update dead_letters set first_failed_at = ${at(minute)}, last_failed_at = ${at(minute)}
      where id = (select max(id::text)::uuid from dead_letters)`;
  }
  const rows = await db.sql<{ id: string }[]>`select id from dead_letters order by first_failed_at`;
  const ids = rows.map(({ id }) => id);
  const app = appOn(db, null);
  const cases: [query: Record<string, string>, found: number[]][] = [
    [{ type: "order.created" }, [0, 2]],
    [{ from: at(1).toISOString() }, [1, 2]],
    [{ to: at(1).toISOString() }, [0]],
    [{ type: "order.created", from: at(1).toISOString(), to: at(9).toISOString() }, [2]],
    [{ type: "order.lost" }, []],
  ];
  for (const [query, found] of cases) {
    const { deadLetters } = await (await app.request(`/ops/dead-letters?${new URLSearchParams(query)}`))
      .json();
    const listed = deadLetters.map(({ id }: { id: string }) => id);
    assertEquals(listed.toSorted(), found.map((i) => ids[i] ?? "").toSorted(), JSON.stringify(query));
  }
  const because = "a test";
  const discard = async (selection: object) => {
    const response = await app.request("/ops/dead-letters/discard", post({ ...selection, because }));
    return response.ok ? (await response.json()).discarded : response.status;
  };
  assertEquals(await discard({ ids: [] }), 400);
  assertEquals(await discard({ ids: Array(101).fill(ids[0]) }), 400);
  assertEquals(await discard({ from: "yesterday" }), 400);
  assertEquals(await discard({ reason: "\ud800" }), 400, "no JSON of Postgres has half a character");
  assertEquals(await discard({ ids: [ids[0], crypto.randomUUID()], type: "order.created" }), 1);
  assertEquals(await discard({ type: "order.created", to: at(9).toISOString() }), 1);
  const [open, ...others] = await db.sql`select id from dead_letters where state = 'OPEN'`;
  assertEquals([open?.id, others], [ids[1], []]);
});

Deno.test("a set is redriven or discarded as it was frozen: not what came meanwhile, and what is gone is told", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const app = appOn(db, wired.publisher);
  const letters = [newLetter(wired.queue), newLetter(wired.queue), newLetter(wired.queue)];
  await insertDeadLetters(db.sql, letters);
  const freeze = async (): Promise<PreparedReplay> => {
    const response = await app.request("/ops/dead-letters/sets", post({ consumer: wired.queue }));
    assertEquals(response.status, 201);
    return await response.json();
  };
  const [redriven, discarded, cancelled] = [await freeze(), await freeze(), await freeze()];
  const first = redriven.events[0]?.deadLetterId;
  assertEquals([redriven.action, redriven.total, redriven.events.length], ["REDRIVE", 3, 3]);
  await insertDeadLetters(db.sql, [newLetter(wired.queue)]); // meanwhile
  await app.request(`/ops/dead-letters/${first}/discard`, post({ because: "gone" }));

  const act = (what: string, body: object) => app.request(`/ops/dead-letters/${what}`, post(body));
  assertEquals((await act("redrive", { setId: redriven.id, consumer: wired.queue })).status, 400);
  const { setId, ...answer } = await (await act("redrive", { setId: redriven.id })).json();
  assertEquals(answer, { redriven: 2, alreadyProcessed: 0, refused: [], gone: 1, left: 0 });
  assertEquals([setId, (await wired.take(wired.queue)).length], [redriven.id, 2]);
  assertEquals(await states(db), ["DISCARDED gone", "REDRIVEN redriven", "REDRIVEN redriven", "OPEN null"]);
  assertEquals((await act("redrive", { setId })).status, 409);

  const because = "a test";
  const late = await act("discard", { setId: discarded.id, because });
  assertEquals(await late.json(), { setId: discarded.id, discarded: 0, gone: 3 });
  await db.sql`update replays set created_at = now() - interval '25 hours' where id = ${cancelled.id}`;
  assertEquals((await act("discard", { setId: cancelled.id, because })).status, 422);
  const { events } = await jsonOf(app, `/ops/replays/${setId}/events`);
  assertEquals(events.map((event: ReplayEventJson) => [event.became, event.error]), [
    ["skipped", "dealt with by somebody else meanwhile"],
    ["waiting", "retries exhausted"],
    ["waiting", "retries exhausted"],
  ]);
  const operations = (await jsonOf(app, "/ops/operations")).operations as OperationJson[];
  assertEquals(
    operations.map(({ action, reason, subject }) => [action, reason, subject.setId !== undefined]),
    [
      ["discard", "a test", true],
      ["redrive", null, true],
      ["discard", "gone", true],
    ],
  );
  assertStringIncludes(operations[0]?.source ?? "", "127.0.0.1 ");
});

Deno.test("a set that is redriven and discarded at once is redriven: its letters are not taken for gone", async () => {
  await using db = await testSchema();
  await insertDeadLetters(db.sql, [newLetter("payments"), newLetter("payments")]);
  const { id } = await prepareLetters(db.sql, {});
  let discarding: ReturnType<typeof discardSet> | undefined;
  const claimed = await transaction(db.sql, async (tx) => {
    await takeUpLetters(tx, id);
    discarding = discardSet(db.sql, id, "a test");
    discarding.catch(() => {});
    await eventually("the discard waits for the set", async () => {
      const [waiting] = await db
        .sql`select from pg_stat_activity where wait_event_type = 'Lock' and query like '%DISCARD%'
        and datname = current_database()`;
      return waiting !== undefined;
    });
    const rows = await tx<{ id: string }[]>`select letter_id as id from replay_events`;
    const letters = await claimOpenLetters(tx, rows.map(({ id }) => id));
    await cancelReplay(tx, id, "a test");
    return letters.length;
  });
  assertEquals([claimed, await discarding], [2, undefined]);
  assertEquals(await states(db), ["OPEN null", "OPEN null"]);
});

Deno.test("a letter is redriven with an edited body, which is the same event, and the original stays", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const { event } = orderCreated();
  const broken = JSON.stringify({ ...event, data: { ...event.data, amount: "much" } });
  const body = new TextEncoder().encode(broken);
  await insertDeadLetters(db.sql, [newLetter(wired.queue, { eventId: event.eventId, body })]);
  const [row] = await db.sql`select id from dead_letters`;
  const bindings = bindingsOf(broker.topology);
  const { app } = testApp(db, { publisher: () => wired.publisher, bindings });
  const redrive = (body: string) => app.request(`/ops/dead-letters/${row?.id}/redrive`, post({ body }));
  const wrong: [body: string, why: string][] = [
    ["{", "not JSON"],
    [broken, "data.amount"],
    [JSON.stringify({ ...event, eventId: crypto.randomUUID() }), "must keep the event's id"],
    [
      JSON.stringify({
        ...event,
        type: "refund.succeeded",
        data: { ...event.data, paymentId: event.eventId },
      }),
      "takes",
    ],
  ];
  for (const [body, why] of wrong) {
    const response = await redrive(body);
    assertEquals(response.status, 400, body);
    const { errors: [{ field, detail }] } = await response.json();
    assertEquals(field, "body");
    assertStringIncludes(detail, why);
  }
  const mended = JSON.stringify(event);
  assertEquals((await (await redrive(mended)).json()).redriven, 1);
  assertEquals(await wired.take(wired.queue), [mended]);
  const letter = await jsonOf(app, `/ops/dead-letters/${row?.id}`);
  assertEquals([letter.body, letter.editedBody], [broken, mended]);
  const { operations: [operation] } = await jsonOf(app, "/ops/operations");
  assertEquals([operation.subject.filter, operation.subject.isEdited], [{ ids: row?.id }, true]);
});

Deno.test("letters that failed alike are one group, which says what failed again, and can be acted on", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const app = appOn(db, wired.publisher);
  const failed = (n: number) =>
    newLetter(wired.queue, { detail: `order ${crypto.randomUUID()}: ${n} ms at "x${n}"` });
  const [again, ...others] = [failed(1), failed(2), failed(3)];
  assert(again);
  await insertDeadLetters(db.sql, [again]);
  await app.request("/ops/dead-letters/redrive", post({}));
  await insertDeadLetters(db.sql, [again, ...others, newLetter(wired.otherQueue, { detail: "no seat" })]);
  const { groups } = await jsonOf(app, "/ops/dead-letters/groups") as { groups: LetterGroupJson[] };
  const found = groups.map((
    { consumer, pattern, count, failedAgain },
  ) => [consumer, pattern, count, failedAgain]);
  assertEquals(
    found.toSorted(),
    [
      [wired.otherQueue, "no seat", 1, 0],
      [wired.queue, "order …: … ms at …", 3, 1],
    ].toSorted(),
  );
  const { consumer, reason, pattern } = groups.find(({ count }) => count === 3) ?? {};
  const set = await jsonOf(app, "/ops/dead-letters/sets", post({ consumer, reason, pattern }));
  assertEquals(set.total, 3);
});
