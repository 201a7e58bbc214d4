import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { heldSchema, holdsSchema } from "../../shared/ops/answers.ts";
import { MAX_STEPS } from "../../shared/ops/holds.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";

shareTestSchema();

const topology = topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));
const QUEUE = topology.queues.paymentsOrderCreated.name;

async function send({ app }: ReturnType<typeof testApp>, method: string, path: string, body?: unknown) {
  const init = body === undefined
    ? { method }
    : { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const response = await app.request(`/ops/holds${path}`, init);
  return { status: response.status, text: await response.text() };
}

Deno.test("a part is held for so long, stepped and resumed; holding it again keeps its beginning and its steps", async () => {
  await using db = await testSchema();
  const subject = testApp(db);
  const held = async (method: string, path: string, body?: unknown) => {
    const { status, text } = await send(subject, method, path, body);
    assertEquals(status, 200, text);
    return heldSchema.parse(JSON.parse(text)).holds;
  };
  const seconds = (from = "", to = "") => Math.round((Date.parse(to) - Date.parse(from)) / 1000);
  const [first, ...more] = await held("PUT", "/relay");
  assertEquals([first?.part, first?.steps, first?.because, more.length], ["relay", 0, null, 0]);
  assertEquals(seconds(first?.sinceAt, first?.untilAt), 600);
  await held("POST", "/relay/step");
  const [again] = await held("PUT", "/relay", { forSeconds: 3600, because: " a look " });
  assertEquals([again?.sinceAt, again?.steps, again?.because], [first?.sinceAt, 1, "a look"]);
  assert(seconds(first?.sinceAt, again?.untilAt) >= 3600);
  assertEquals((await held("PUT", `/${QUEUE}`, { forSeconds: 60 })).map(({ part }) => part), [
    QUEUE,
    "relay",
  ]);
  assertEquals((await held("DELETE", "/relay")).map(({ part }) => part), [QUEUE]);
  assertEquals((await held("DELETE", "/relay")).length, 1);
  await db.sql`update holds set steps = ${MAX_STEPS} where part = ${QUEUE}`;
  assertEquals((await held("POST", `/${QUEUE}/step`)).map(({ steps }) => steps), [MAX_STEPS]);
  const { figures } = await (await subject.app.request("/ops/status")).json();
  assertEquals(figures.holds.map(({ part, steps }: { part: string; steps: number }) => [part, steps]), [
    [QUEUE, MAX_STEPS],
  ]);
  const metrics = await (await subject.app.request("/metrics")).text();
  assertStringIncludes(metrics, `orderflow_held{part="${QUEUE}"} 1`);
  await db.sql`update holds set until = now()`;
  assertEquals(holdsSchema.parse(JSON.parse((await send(subject, "GET", "")).text)).holds, []);
});

Deno.test("what cannot be held is refused with a sentence: a part that is not there, a seam without faults, a step of nothing", async () => {
  await using db = await testSchema();
  const [without, on] = [testApp(db), testApp(db, { faults: topology })];
  const inner = `/${QUEUE}.before-commit`;
  const cases: [status: number, says: string, method: string, path: string, body?: unknown][] = [
    [404, "The parts are relay, payments", "PUT", "/nobody"],
    [404, "There is no part nobody", "DELETE", "/nobody"],
    [409, "FAULTS_ENABLED=true", "PUT", inner],
    [409, "FAULTS_ENABLED=true", "PUT", "/relay.before-mark"],
    [409, "hold it first", "POST", "/relay/step"],
    [400, "1 to 3600", "PUT", "/relay", { forSeconds: 3601 }],
    [400, "1 to 3600", "PUT", "/relay", { forSeconds: 0 }],
    [400, "because", "PUT", "/relay", { because: "a\0b" }],
    [400, "because", "PUT", "/relay", { because: "a".repeat(501) }],
    [400, "nonsense", "PUT", "/relay", { nonsense: 1 }],
  ];
  for (const [status, says, ...request] of cases) {
    const answer = await send(without, ...request);
    assertEquals([request, answer.status], [request, status]);
    assertStringIncludes(answer.text, says);
  }
  assertEquals((await send(on, "PUT", inner)).status, 200);
  const { parts } = holdsSchema.parse(JSON.parse((await send(on, "GET", "")).text));
  assertEquals(parts.length, 2 + 2 * Object.keys(topology.queues).length);
  assertEquals(
    holdsSchema.parse(JSON.parse((await send(without, "GET", "")).text)).parts.length,
    parts.length / 2,
  );
});
