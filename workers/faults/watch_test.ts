import { assert, assertEquals } from "@std/assert";
import { armFaults, type Fault, type FaultPoint, listArmedFaults } from "../../shared/ops/faults.ts";
import { grantStep, holdPart, listHolds, resumePart } from "../../shared/ops/holds.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { watchFaults, watchHolds } from "./watch.ts";

shareTestSchema();

/** A database, processes under these roles that watch, and an operator; the processes stop with the test. */
async function stage() {
  await using resources = new AsyncDisposableStack();
  const db: TestSchema = resources.use(await testSchema());
  const stopping = new AbortController();
  resources.defer(() => stopping.abort());
  const ops = db.as("orderflow_ops");
  const context = { log: testLog, stop: stopping.signal };
  const owned = resources.move();
  return {
    db,
    ops,
    stop: () => stopping.abort(),
    faultsOf: (sql = db.as("orderflow_payments")) => watchFaults(sql, context),
    holdsOf: (sql = db.as("orderflow_payments"), part = PART, onChange = () => {}) =>
      watchHolds(sql, [part], { ...context, onChange }),
    arm: (...faults: readonly (Partial<Fault> & Pick<Fault, "point">)[]) =>
      armFaults(ops, faults.map((fault) => ({ ...ONCE, ...fault })), new Date()),
    hold: (part = PART, forSeconds = 600) => holdPart(ops, { part, forSeconds, because: null }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const PART = "payments.order-created.v1";
const ONCE = { times: 1, consumer: null, correlationId: null, delayMs: null };
const target = (correlationId: string, consumer = "payments") => ({
  consumers: [consumer],
  correlationIds: [correlationId],
});

Deno.test("watchFaults() knows what was armed before, and hears of what is armed, taken away and spent", async () => {
  await using it = await stage();
  await it.arm({ point: "delivery.lost", delayMs: 7 });
  const faults = await it.faultsOf();
  assertEquals((await faults.strike("delivery.lost", target("a")))?.delayMs, 7);
  await eventually("it to be known as spent", async () => !await faults.anyArmed());
  await it.arm({ point: "delivery.lost" });
  await eventually("the armed fault", () => faults.anyArmed());
  await armFaults(it.ops, [], new Date(), { replacing: true });
  await eventually("nothing armed", async () => !await faults.anyArmed());
});

Deno.test("a fault strikes exactly as often as it is armed, however many processes meet it at once", async () => {
  await using it = await stage();
  await it.arm({ point: "provider.failing", times: 7 });
  const roles = ["orderflow_payments", "orderflow_orders", "orderflow_relay"] as const;
  const copies = await Promise.all(roles.map((role) => it.faultsOf(it.db.as(role))));
  const point: FaultPoint = "provider.failing";
  const strikes = copies.flatMap((faults) =>
    Array.from({ length: 10 }, (_, i) => faults.strike(point, target(`c-${i}`)))
  );
  assertEquals((await Promise.all(strikes)).filter((struck) => struck !== null).length, 7);
  await eventually("all to know that it is spent", async () => {
    return !(await Promise.all(copies.map((faults) => faults.anyArmed()))).includes(true);
  });
});

Deno.test("a fault strikes only what it is meant for, the one that was armed first, and not without a database", async () => {
  await using it = await stage();
  const point = "database.timeout";
  const only = { correlationId: 'it\'s "{,}"', consumer: "payments" };
  await it.arm({ point, ...only, correlationId: "z" }, { point, ...only, consumer: "notifications" });
  await it.arm({ point, ...only, times: 2 });
  await it.arm({ point: "provider.slow", delayMs: 1 });
  await it.arm({ point: "provider.slow", delayMs: 2 });
  const sql = it.db.as("orderflow_payments");
  const faults = await it.faultsOf(sql);
  assertEquals(await faults.strike(point, target("other")), null);
  assertEquals(await faults.strike(point, target(only.correlationId, "orders")), null);
  assertEquals(await faults.strike("provider.failing", target(only.correlationId)), null);
  const batch = { consumers: ["payments"], correlationIds: ["other", only.correlationId] };
  const struck = await faults.strike(point, batch);
  assertEquals([struck?.times, struck?.correlationId], [1, only.correlationId]);
  assertEquals((await faults.strike("provider.slow", target("a")))?.delayMs, 1);
  assertEquals((await listArmedFaults(it.ops)).map(({ times }) => times), [1, 1, 1, 1]);
  await sql.end();
  assertEquals(await faults.strike("provider.slow", target("a")), null);
});

Deno.test("armFaults() forgets what is long spent; what this version does not know is not listed", async () => {
  await using it = await stage();
  await it.db.sql`
    insert into faults (id, point, remaining, created_at)
    values (gen_random_uuid(), 'delivery.lost', 0, now() - interval '2 hours'), (gen_random_uuid(), 'moon.full', 1, now())`;
  await it.arm({ point: "delivery.lost", consumer: "a" });
  const rows = await it.db.sql`select point, consumer from faults order by point`;
  assertEquals(rows.map((row) => ({ ...row })), [
    { point: "delivery.lost", consumer: "a" },
    { point: "moon.full", consumer: null },
  ]);
  assertEquals((await listArmedFaults(it.ops)).map(({ point }) => point), ["delivery.lost"]);
});

Deno.test("watchHolds() knows what was held before, and hears of what is held, stepped and resumed, and of nobody else's", async () => {
  await using it = await stage();
  await it.hold();
  let changes = 0;
  const holds = await it.holdsOf(undefined, PART, () => changes++);
  const isHeld = (held: boolean) => eventually(`held: ${held}`, () => holds.isHeld(PART) === held);
  assertEquals([holds.isHeld(PART), holds.gate(PART).isShut()], [true, true]);
  await resumePart(it.ops, PART);
  await isHeld(false);
  await it.hold();
  await isHeld(true);
  for (let steps = 0; steps < 2; steps++) {
    const seen = changes;
    await grantStep(it.ops, PART);
    await eventually("a step to be told", () => changes > seen);
    assert(await holds.gate(PART).takeStep());
  }
  await resumePart(it.ops, PART);
  await isHeld(false);
  const before = changes;
  await it.hold("relay");
  await it.hold();
  await isHeld(true);
  assertEquals([holds.isHeld("relay"), changes], [false, before + 1]);
  await it.hold(PART, 1);
  await isHeld(false); // it has run out
  assertEquals((await listHolds(it.ops)).map(({ part }) => part), ["relay"]);
});

Deno.test("a step is taken once, however many copies ask; one that is given back is taken again", async () => {
  await using it = await stage();
  await it.hold();
  const roles = ["orderflow_payments", "orderflow_payments", "orderflow_relay"] as const;
  const holds = await Promise.all(roles.map((role) => it.holdsOf(it.db.as(role))));
  const copies = holds.map((copy) => copy.gate(PART));
  const takers = async () => {
    const taken = await Promise.all(copies.map(async (gate) => await gate.takeStep() ? [gate] : []));
    return taken.flat();
  };
  assertEquals((await takers()).length, 0);
  for (const steps of [1, 2]) {
    for (let i = 0; i < steps; i++) assert(await grantStep(it.ops, PART));
    const taken: typeof copies = [];
    await eventually(`${steps} steps to be taken`, async () => taken.push(...await takers()) >= steps);
    assertEquals([taken.length, (await takers()).length], [steps, 0]);
    await taken[0]?.returnStep();
    await eventually("the one given back to be taken", async () => (await takers()).length === 1);
  }
});

Deno.test("nothing is asked of the database while nothing is armed or held", async () => {
  await using it = await stage();
  let statements = 0;
  const sql: Sql = new Proxy(it.db.as("orderflow_payments"), {
    apply(pool, self, args) {
      statements++;
      return Reflect.apply(pool, self, args);
    },
  });
  const [faults, holds] = [await it.faultsOf(sql), await it.holdsOf(sql)];
  assertEquals(statements, 2, "one read of each at the start");
  for (let i = 0; i < 10; i++) {
    assertEquals(await faults.anyArmed(), false);
    assertEquals(await faults.strike("provider.failing", target("a")), null);
    await faults.crash("consumer.crash-after-commit", target("a"));
    assertEquals([holds.gate(PART).isShut(), await holds.gate(PART).takeStep()], [false, false]);
    await holds.stopAt(PART);
  }
  assertEquals(statements, 2);
});

Deno.test("whoever asks behind a change that is known of gets the answer once that is read", async () => {
  await using it = await stage();
  const pool = it.db.as("orderflow_payments");
  const { promise: mayRead, resolve: letRead } = Promise.withResolvers<void>();
  let told = 0;
  const listen: Sql["listen"] = (channel, onChange, onListen) =>
    pool.listen(channel, (payload) => {
      told++;
      onChange(payload);
    }, onListen);
  const sql: Sql = new Proxy(pool, {
    get: (pool, name) => name === "listen" ? listen : Reflect.get(pool, name),
    apply: (pool, self, args) =>
      told === 0 ? Reflect.apply(pool, self, args) : mayRead.then(() => {
        return Reflect.apply(pool, self, args);
      }),
  });
  const faults = await it.faultsOf(sql);
  await it.arm({ point: "provider.failing" });
  await eventually("the change to be told", () => told > 0);
  const isArmed = faults.anyArmed();
  letRead();
  assertEquals(await isArmed, true);
});

Deno.test("stopAt() waits for a step, the end of the hold or of the process, and not at all where nothing is held", async () => {
  await using it = await stage();
  const part = "relay.before-mark";
  const holds = await it.holdsOf(it.db.as("orderflow_relay"), part);
  await holds.stopAt(part);
  await it.hold(part);
  await eventually("it to be held", () => holds.isHeld(part));
  let passed = 0;
  const all = Array.from({ length: 3 }, () => holds.stopAt(part).then(() => passed++));
  await grantStep(it.ops, part);
  await eventually("one to pass", () => passed > 0);
  await eventually("the step to be seen as taken", async () => (await listHolds(it.ops))[0]?.steps === 0);
  assertEquals(passed, 1);
  it.stop();
  await Promise.all(all);
});

Deno.test("a database that is away costs no step and ends nothing: the hold is still there when it is back", async () => {
  await using it = await stage();
  const sql = it.db.as("orderflow_payments");
  await it.hold();
  const holds = await it.holdsOf(sql);
  await sql.end({ timeout: 1 });
  await holds.gate(PART).changes(); // the look of the next second, which fails
  assertEquals([holds.isHeld(PART), await holds.gate(PART).takeStep()], [true, false]);
  it.stop();
  await holds.gate(PART).changes();
});
