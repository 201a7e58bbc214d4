import { assert, assertEquals } from "@std/assert";
import { grantStep, holdPart, listHolds, resumePart } from "../../shared/ops/holds.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { watchFaults } from "./armed.ts";
import { watchHolds } from "./held.ts";

shareTestSchema();

const PART = "payments.order-created.v1";
const hold = (sql: Sql, part = PART, forSeconds = 600) => holdPart(sql, { part, forSeconds, because: null });

Deno.test("watchHolds() knows what was held before, and hears of what is held, stepped and resumed, and of nobody else's", async () => {
  await using db = await testSchema();
  const ops = db.as("orderflow_ops");
  const stopping = new AbortController();
  await hold(ops);
  let changes = 0;
  const watching = { log: testLog, stop: stopping.signal, onChange: () => void changes++ };
  const holds = await watchHolds(db.as("orderflow_payments"), [PART], watching);
  assertEquals([holds.isHeld(PART), holds.gate(PART).isShut()], [true, true]);
  await resumePart(ops, PART);
  await eventually("it to be resumed", () => !holds.isHeld(PART));
  await hold(ops);
  await eventually("it to be held again", () => holds.isHeld(PART));
  for (let steps = 0; steps < 2; steps++) {
    const seen = changes;
    await grantStep(ops, PART);
    await eventually("a step to be told", () => changes > seen);
    assert(await holds.gate(PART).takeStep());
  }
  await resumePart(ops, PART);
  await eventually("it to be resumed again", () => !holds.isHeld(PART));
  const before = changes;
  await hold(ops, "relay");
  await hold(ops);
  await eventually("it to be held", () => holds.isHeld(PART));
  assertEquals([holds.isHeld("relay"), changes], [false, before + 1]);
  await hold(ops, PART, 1);
  await eventually("it to run out", () => !holds.isHeld(PART));
  assertEquals((await listHolds(ops)).map(({ part }) => part), ["relay"]);
  stopping.abort();
});

Deno.test("a step is taken once, however many copies ask; one that is given back is taken again, and one of before is not kept", async () => {
  await using db = await testSchema();
  const ops = db.as("orderflow_ops");
  const stopping = new AbortController();
  await hold(ops);
  const copies = await Promise.all(
    (["orderflow_payments", "orderflow_payments", "orderflow_relay"] as const).map(async (role) =>
      (await watchHolds(db.as(role), [PART], { log: testLog, stop: stopping.signal })).gate(PART)
    ),
  );
  const takers = async () => {
    const taken = await Promise.all(copies.map(async (gate) => await gate.takeStep() ? gate : null));
    return taken.filter((gate) => gate !== null);
  };
  assertEquals((await takers()).length, 0);
  for (const steps of [1, 2]) {
    for (let i = 0; i < steps; i++) assert(await grantStep(ops, PART));
    const taken: (typeof copies[number])[] = [];
    await eventually(`${steps} steps to be taken`, async () => taken.push(...await takers()) >= steps);
    assertEquals([taken.length, (await takers()).length], [steps, 0]);
    await taken[0]?.returnStep();
    await eventually("the one given back to be taken", async () => (await takers()).length === 1);
  }
  await grantStep(ops, PART);
  await resumePart(ops, PART);
  assertEquals(await grantStep(ops, PART), false);
  await hold(ops);
  assertEquals((await listHolds(ops)).map(({ steps }) => steps), [0]);
  stopping.abort();
});

Deno.test("nothing is asked of the database while nothing is armed or held", async () => {
  await using db = await testSchema();
  const stopping = new AbortController();
  let statements = 0;
  const sql: Sql = new Proxy(db.as("orderflow_payments"), {
    apply(pool, self, args) {
      statements++;
      return Reflect.apply(pool, self, args);
    },
  });
  const watching = { log: testLog, stop: stopping.signal };
  const faults = await watchFaults(sql, watching);
  const holds = await watchHolds(sql, [PART], watching);
  assertEquals(statements, 2, "one read of each at the start");
  const target = { consumers: ["payments"], correlationIds: ["a"] };
  for (let i = 0; i < 10; i++) {
    assertEquals([await faults.anyArmed(), await faults.strike("provider.failing", target)], [false, null]);
    await faults.crash("consumer.crash-after-commit", target);
    assertEquals([holds.gate(PART).isShut(), await holds.gate(PART).takeStep()], [false, false]);
    await holds.stopAt(PART);
  }
  assertEquals(statements, 2);
  stopping.abort();
});

Deno.test("stopAt() waits for a step, the end of the hold or of the process, and not at all where nothing is held", async () => {
  await using db = await testSchema();
  const ops = db.as("orderflow_ops");
  const stopping = new AbortController();
  const watching = { log: testLog, stop: stopping.signal };
  const holds = await watchHolds(db.as("orderflow_relay"), ["relay.before-mark"], watching);
  await holds.stopAt("relay.before-mark");
  await hold(ops, "relay.before-mark");
  await eventually("it to be held", () => holds.isHeld("relay.before-mark"));
  let passed = 0;
  const stop = () => holds.stopAt("relay.before-mark").then(() => passed++);
  const all = [stop(), stop(), stop()];
  await grantStep(ops, "relay.before-mark");
  await eventually("one to pass", () => passed > 0);
  await eventually("the step to be seen as taken", async () => (await listHolds(ops))[0]?.steps === 0);
  assertEquals(passed, 1);
  stopping.abort();
  await Promise.all(all);
});

Deno.test("a database that is away costs no step and ends nothing: the hold is still there when it is back", async () => {
  await using db = await testSchema();
  const ops = db.as("orderflow_ops");
  const stopping = new AbortController();
  const sql = db.as("orderflow_payments");
  await hold(ops);
  const holds = await watchHolds(sql, [PART], { log: testLog, stop: stopping.signal });
  await sql.end({ timeout: 1 });
  await holds.gate(PART).changes(); // the look of the next second, which fails
  assertEquals([holds.isHeld(PART), await holds.gate(PART).takeStep()], [true, false]);
  stopping.abort();
  await holds.gate(PART).changes();
});
