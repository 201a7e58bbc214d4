import { assertEquals, assertStringIncludes } from "@std/assert";
import { bindingsOf } from "../../shared/broker/connection.ts";
import type { LetterGroupJson, OperationJson, ReplayEventJson } from "../../shared/ops/answers.ts";
import { claimOpenLetters } from "../../shared/ops/dead_letters.ts";
import { cancelReplay, discardSet, prepareLetters } from "../../shared/ops/replays.ts";
import { takeUpLetters } from "../../shared/ops/send_again.ts";
import { transaction } from "../../shared/sql/connect.ts";
import { insertDeadLetters, type NewDeadLetter } from "../../shared/sql/set_aside.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { openWire, testBroker } from "../../specs/support/test_broker.ts";
import { appendEvents, newLetter, orderCreated } from "../../specs/support/test_events.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";

shareTestSchema();

const encode = (text: string) => new TextEncoder().encode(text);

/** The application on a database and a broker of the test's own, where every queue is there and nobody consumes. */
async function stage() {
  await using resources = new AsyncDisposableStack();
  const db = resources.use(await testSchema());
  const broker = resources.use(await testBroker());
  const { channel, publisher } = resources.use(await openWire(broker));
  const { topology } = broker;
  const owned = resources.move();
  const get = (queue: string) => channel.get(queue, { noAck: true });
  const app = testApp(db, { publisher: () => publisher, bindings: bindingsOf(topology) });
  return {
    ...app,
    db,
    redrive: (which: object) => app.call("POST /ops/dead-letters/redrive", which),
    get,
    queue: topology.queues.paymentsOrderCreated.name,
    otherQueue: topology.queues.ordersPaymentEvents.name,
    /** The bodies in a queue, taken out. */
    async take(queue: string): Promise<string[]> {
      const bodies: string[] = [];
      for (let message; (message = await get(queue));) bodies.push(message.content.toString());
      return bodies;
    },
    /** Puts letters in; answers with their ids, oldest first. */
    async insert(...letters: NewDeadLetter[]): Promise<string[]> {
      await insertDeadLetters(db.sql, letters);
      return (await db.sql`select id from dead_letters order by id`).map(({ id }) => id);
    },
    async states(): Promise<string[]> {
      const rows = await db.sql`select state, resolution from dead_letters order by id`;
      return rows.map(({ state, resolution }) => `${state} ${resolution}`);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

Deno.test("letters are redriven as they were received, with the trace that they began in, to their own consumer alone", async () => {
  await using on = await stage();
  const { event, traceparent } = orderCreated();
  await appendEvents(on.db.sql, [{ event, traceparent }]);
  const done = newLetter(on.queue);
  await on.db.sql`insert into processed_events values (${done.eventId}, ${on.queue}, now())`;
  const sound = newLetter(on.queue, { eventId: event.eventId, body: encode("{ not json") });
  const [id, , other] = await on.insert(sound, done, newLetter(on.otherQueue));
  const { setId, ...answer } = await on.redrive({ consumer: on.queue });
  assertEquals(answer, { redriven: 1, alreadyProcessed: 1, refused: [], gone: 0, left: 0 });
  assertEquals((await on.call(`GET /ops/replays/${setId}`)).state, "DONE");
  assertEquals(await on.states(), ["REDRIVEN redriven", "DISCARDED already processed", "OPEN null"]);
  const message = await on.get(on.queue);
  assertEquals(message && message.content.toString(), "{ not json");
  assertEquals(message && message.properties.headers?.traceparent, traceparent);
  assertEquals([await on.take(on.queue), await on.take(on.otherQueue)], [[], []]);
  assertEquals((await on.call(`POST /ops/dead-letters/${other}/redrive`)).redriven, 1);
  assertEquals((await on.take(on.otherQueue)).length, 1);
  for (const [status, gone] of [[409, id], [404, crypto.randomUUID()]]) {
    assertEquals((await on.ask(`POST /ops/dead-letters/${gone}/redrive`)).status, status);
  }
});

Deno.test("a letter that cannot be sent stays open, whoever asks, and the answer says why", async () => {
  await using on = await stage();
  const letters = [newLetter(on.queue, { cutFrom: 5_000_000 }), newLetter("no.such.queue")];
  const ids = await on.insert(...letters);
  const why = ["only its beginning was kept", "returned by the broker: NO_ROUTE"];
  for (const selection of [{ ids: ids.slice(0, 1) }, { ids: ids.slice(1) }, {}]) {
    const { redriven, refused } = await on.redrive(selection);
    assertEquals([redriven, refused.length], [0, selection.ids?.length ?? 2]);
    for (const { id, error } of refused) assertStringIncludes(error, why[ids.indexOf(id)] ?? "");
  }
  assertEquals([await on.take(on.queue), await on.states()], [[], ["OPEN null", "OPEN null"]]);
  const away = testApp(on.db, { publisher: () => null });
  assertEquals((await away.ask("POST /ops/dead-letters/redrive", {})).status, 503);
});

Deno.test("letters are chosen by state, consumer, reason, order, type, time and ids, in the list and for an action alike", async () => {
  await using db = await testSchema();
  const { ask, call } = testApp(db);
  const at = (minute: number) => new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString();
  const orderId = crypto.randomUUID();
  const letters = [
    newLetter("payments", { aggregateId: orderId }),
    newLetter("orders", { eventType: "payment.failed", reason: "not JSON" }),
    newLetter("payments"),
  ];
  const ids: string[] = [];
  for (const [minute, letter] of letters.entries()) {
    await insertDeadLetters(db.sql, [letter]);
    const [row] = await db.sql`
      update dead_letters set first_failed_at = ${at(minute)}, last_failed_at = ${at(minute)}
      where event_id = ${letter.eventId} returning id`;
    ids.push(row?.id);
  }
  const cases: [query: Record<string, string>, found: number[]][] = [
    [{ consumer: "payments" }, [0, 2]],
    [{ orderId }, [0]],
    [{ reason: "not JSON" }, [1]],
    [{ state: "REDRIVEN" }, []],
    [{ type: "order.created" }, [0, 2]],
    [{ from: at(1) }, [1, 2]],
    [{ to: at(1) }, [0]],
    [{ type: "order.created", from: at(1), to: at(9) }, [2]],
    [{ type: "order.lost" }, []],
  ];
  for (const [query, found] of cases) {
    const { deadLetters } = await call(`GET /ops/dead-letters?${new URLSearchParams(query)}`);
    const listed = deadLetters.map(({ id }: { id: string }) => ids.indexOf(id));
    assertEquals(listed.toSorted(), found, JSON.stringify(query));
  }
  const because = "a test";
  const refused: object[] = [
    { consumer: "payments" }, // it needs a reason
    { ids: [], because },
    { ids: Array(101).fill(ids[0]), because },
    { from: "yesterday", because },
    { reason: "\ud800", because }, // no JSON of Postgres has half a character
  ];
  const discard = (selection: object) => ask("POST /ops/dead-letters/discard", selection);
  for (const selection of refused) {
    assertEquals((await discard(selection)).status, 400, JSON.stringify(selection));
  }
  const taken = { ids: [ids[0], crypto.randomUUID()], type: "order.created" };
  for (const selection of [taken, { type: "order.created", to: at(9) }]) {
    assertEquals((await discard({ ...selection, because })).body.discarded, 1);
  }
  assertEquals((await call(`POST /ops/dead-letters/${ids[1]}/discard`, { because: "another" })).discarded, 1);
  const rows = await db.sql`select state, resolution from dead_letters order by first_failed_at`;
  assertEquals(rows.map(({ state }) => state), Array(3).fill("DISCARDED"));
  assertEquals(rows.map(({ resolution }) => resolution), [because, "another", because]);
});

Deno.test("a set is redriven or discarded as it was frozen: not what came meanwhile, and what is gone is told", async () => {
  await using on = await stage();
  const { ask, call } = on;
  await on.insert(newLetter(on.queue), newLetter(on.queue), newLetter(on.queue));
  const freeze = () => call("POST /ops/dead-letters/sets", { consumer: on.queue });
  const [redriven, discarded, cancelled] = [await freeze(), await freeze(), await freeze()];
  assertEquals([redriven.action, redriven.total, redriven.events.length], ["REDRIVE", 3, 3]);
  await on.insert(newLetter(on.queue)); // meanwhile
  await call(`POST /ops/dead-letters/${redriven.events[0].deadLetterId}/discard`, { because: "gone" });

  const act = (what: string, body: object) => ask(`POST /ops/dead-letters/${what}`, body);
  assertEquals((await act("redrive", { setId: redriven.id, consumer: on.queue })).status, 400);
  const { setId, ...answer } = (await act("redrive", { setId: redriven.id })).body;
  assertEquals(answer, { redriven: 2, alreadyProcessed: 0, refused: [], gone: 1, left: 0 });
  assertEquals([setId, (await on.take(on.queue)).length], [redriven.id, 2]);
  assertEquals(await on.states(), ["DISCARDED gone", "REDRIVEN redriven", "REDRIVEN redriven", "OPEN null"]);
  assertEquals((await act("redrive", { setId })).status, 409);

  const because = "a test";
  const late = await act("discard", { setId: discarded.id, because });
  assertEquals(late.body, { setId: discarded.id, discarded: 0, gone: 3 });
  await on.db.sql`update replays set created_at = now() - interval '25 hours' where id = ${cancelled.id}`;
  assertEquals((await act("discard", { setId: cancelled.id, because })).status, 422);
  const { events } = await call(`GET /ops/replays/${setId}/events`);
  assertEquals(events.map((event: ReplayEventJson) => [event.became, event.error]), [
    ["skipped", "dealt with by somebody else meanwhile"],
    ["waiting", "retries exhausted"],
    ["waiting", "retries exhausted"],
  ]);
  const { operations }: { operations: OperationJson[] } = await call("GET /ops/operations");
  const told = operations.map(({ action, reason, subject }) => [action, reason, subject.setId !== undefined]);
  assertEquals(told, [["discard", "a test", true], ["redrive", null, true], ["discard", "gone", true]]);
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
    const waiting = () =>
      db.sql`
        select from pg_stat_activity where wait_event_type = 'Lock' and query like '%DISCARD%'
          and datname = current_database()`;
    await eventually("the discard waits for the set", async () => (await waiting()).count);
    const rows = await tx<{ id: string }[]>`select letter_id as id from replay_events`;
    const letters = await claimOpenLetters(tx, rows.map(({ id }) => id));
    await cancelReplay(tx, id, "a test");
    return letters.length;
  });
  assertEquals([claimed, await discarding], [2, undefined]);
  assertEquals((await db.sql`select from dead_letters where state = 'OPEN'`).count, 2);
});

Deno.test("a letter is redriven with an edited body, which is the same event, and the original stays", async () => {
  await using on = await stage();
  const { ask, call } = on;
  const { event } = orderCreated();
  const changed = (more: object) => JSON.stringify({ ...event, ...more });
  const broken = changed({ data: { ...event.data, amount: "much" } });
  const [id] = await on.insert(newLetter(on.queue, { eventId: event.eventId, body: encode(broken) }));
  const wrong: [body: string, why: string][] = [
    ["{", "not JSON"],
    [broken, "data.amount"],
    [changed({ eventId: crypto.randomUUID() }), "must keep the event's id"],
    [changed({ type: "refund.succeeded", data: { ...event.data, paymentId: event.eventId } }), "takes"],
  ];
  for (const [body, why] of wrong) {
    const refused = await ask(`POST /ops/dead-letters/${id}/redrive`, { body });
    const [{ field, detail }] = refused.body.errors;
    assertEquals([refused.status, field], [400, "body"], body);
    assertStringIncludes(detail, why);
  }
  const mended = JSON.stringify(event);
  assertEquals((await call(`POST /ops/dead-letters/${id}/redrive`, { body: mended })).redriven, 1);
  assertEquals(await on.take(on.queue), [mended]);
  const letter = await call(`GET /ops/dead-letters/${id}`);
  assertEquals([letter.body, letter.editedBody], [broken, mended]);
  const { operations: [operation] } = await call("GET /ops/operations");
  assertEquals([operation.subject.filter, operation.subject.isEdited], [{ ids: id }, true]);
});

Deno.test("letters that failed alike are one group, which says what failed again, and can be acted on", async () => {
  await using on = await stage();
  const failed = (n: number) =>
    newLetter(on.queue, { detail: `order ${crypto.randomUUID()}: ${n} ms at "x${n}"` });
  const again = failed(1);
  await on.insert(again);
  await on.redrive({});
  await on.insert(again, failed(2), failed(3), newLetter(on.otherQueue, { detail: "no seat" }));
  const { groups }: { groups: LetterGroupJson[] } = await on.call("GET /ops/dead-letters/groups");
  const found = groups.map((group) => [group.consumer, group.pattern, group.count, group.failedAgain]);
  const wanted = [[on.otherQueue, "no seat", 1, 0], [on.queue, "order …: … ms at …", 3, 1]];
  assertEquals(found.toSorted(), wanted.toSorted());
  const { consumer, reason, pattern } = groups.find(({ count }) => count === 3) ?? {};
  assertEquals((await on.call("POST /ops/dead-letters/sets", { consumer, reason, pattern })).total, 3);
});
