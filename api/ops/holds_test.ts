import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { heldSchema, holdsSchema } from "../../shared/ops/answers.ts";
import { MAX_STEPS } from "../../shared/ops/holds.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";

shareTestSchema();

const topology = usualTopology();
const QUEUE = topology.queues.paymentsOrderCreated.name;

Deno.test("a part is held for so long, stepped and resumed; holding it again keeps its beginning and its steps", async () => {
  await using db = await testSchema();
  const { call } = testApp(db);
  const held = async (line: string, body?: unknown) => heldSchema.parse(await call(line, body)).holds;
  const seconds = (from = "", to = "") => Math.round((Date.parse(to) - Date.parse(from)) / 1000);
  const [first, ...more] = await held("PUT /ops/holds/relay");
  assertEquals([first?.part, first?.steps, first?.because, more.length], ["relay", 0, null, 0]);
  assertEquals(seconds(first?.sinceAt, first?.untilAt), 600);
  await held("POST /ops/holds/relay/step");
  const [again] = await held("PUT /ops/holds/relay", { forSeconds: 3600, because: " a look " });
  assertEquals([again?.sinceAt, again?.steps, again?.because], [first?.sinceAt, 1, "a look"]);
  assert(seconds(first?.sinceAt, again?.untilAt) >= 3600);
  const both = await held(`PUT /ops/holds/${QUEUE}`, { forSeconds: 60 });
  assertEquals(both.map(({ part }) => part), [QUEUE, "relay"]);
  for (const _ of ["once", "and again"]) {
    assertEquals((await held("DELETE /ops/holds/relay")).map(({ part }) => part), [QUEUE]);
  }
  await db.sql`update holds set steps = ${MAX_STEPS} where part = ${QUEUE}`;
  assertEquals((await held(`POST /ops/holds/${QUEUE}/step`)).map(({ steps }) => steps), [MAX_STEPS]);
  const [shown] = (await call("GET /ops/status")).figures.holds;
  assertEquals([shown.part, shown.steps], [QUEUE, MAX_STEPS]);
  assertStringIncludes(await call("GET /metrics"), `orderflow_held{part="${QUEUE}"} 1`);
  await db.sql`update holds set until = now()`;
  assertEquals((await call("GET /ops/holds")).holds, []);
});

Deno.test("what cannot be held is refused with a sentence: a part that is not there, a seam without faults, a step of nothing", async () => {
  await using db = await testSchema();
  const [without, on] = [testApp(db), testApp(db, { faults: topology })];
  const inner = `PUT /ops/holds/${QUEUE}.before-commit`;
  const relay = "PUT /ops/holds/relay";
  const cases: [status: number, says: string, line: string, body?: unknown][] = [
    [404, "The parts are relay, payments", "PUT /ops/holds/nobody"],
    [404, "There is no part nobody", "DELETE /ops/holds/nobody"],
    [409, "FAULTS_ENABLED=true", inner],
    [409, "FAULTS_ENABLED=true", "PUT /ops/holds/relay.before-mark"],
    [409, "hold it first", "POST /ops/holds/relay/step"],
    [400, "1 to 3600", relay, { forSeconds: 3601 }],
    [400, "1 to 3600", relay, { forSeconds: 0 }],
    [400, "because", relay, { because: "a\0b" }],
    [400, "because", relay, { because: "a".repeat(501) }],
    [400, "nonsense", relay, { nonsense: 1 }],
  ];
  for (const [status, says, ...request] of cases) {
    const answer = await without.ask(...request);
    assertEquals([request, answer.status], [request, status]);
    assertStringIncludes(JSON.stringify(answer.body), says);
  }
  await on.call(inner);
  const parts = 2 + 2 * Object.keys(topology.queues).length;
  assertEquals(holdsSchema.parse(await on.call("GET /ops/holds")).parts.length, parts);
  assertEquals((await without.call("GET /ops/holds")).parts.length, parts / 2);
});
