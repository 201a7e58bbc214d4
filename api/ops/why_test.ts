import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { eventually } from "../../specs/support/eventually.ts";
import { call } from "../../specs/support/http.ts";
import { runTask } from "../../specs/support/run_task.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { startStack, type TestStack } from "../../specs/support/test_stack.ts";
import { appendEvents, newLetter, orderCreated } from "../../specs/support/test_events.ts";
import { type WhyJson, whySchema } from "../../shared/ops/answers.ts";
import { prepareReplay } from "../../shared/ops/replays.ts";
import { readOpenCopies } from "../../shared/ops/why.ts";
import { insertDeadLetters } from "../../shared/sql/set_aside.ts";

shareTestSchema();

/** So much time for three delayed retries (10.5 s, give or take a fifth) on a busy machine. */
const RETRIES_MS = 60_000;

/** Waits until the order waits for `cause`, and answers with what is told of it. */
async function until(
  { url }: TestStack,
  id: string,
  cause: WhyJson["cause"],
  withinMs?: number,
): Promise<WhyJson> {
  return await eventually(`the order to wait for ${cause}`, async () => {
    const why = whySchema.parse(await call(url, `GET /ops/orders/${id}/why`));
    if (why.cause !== cause) throw new Error(JSON.stringify(why));
    return why;
  }, withinMs);
}

/** Does what the answer advises to post. */
async function follow({ url }: TestStack, { action }: WhyJson): Promise<void> {
  await call(url, /POST \/ops\/[\w/-]+/.exec(action ?? "")?.[0] ?? "");
}

Deno.test("GET /ops/orders/:id/why and deno task status ORDER name each cause as it happens, and what they advise helps", async () => {
  await using stack = await startStack({ FAULTS_ENABLED: "true", OUTBOX_RECONCILE_INTERVAL_MS: "100" }, {
    apart: [],
  });
  const { url, broker: { topology: { queues } } } = stack;
  const payments = queues.paymentsOrderCreated.name;
  const play = async (scenario: string) => (await call(url, `POST /ops/scenarios/${scenario}`)).id;
  const status = (...args: string[]) => runTask("status", [...args, `--url=${url}`]);
  const down = await play("provider-down");
  const retried = await until(stack, down, "retry", RETRIES_MS);
  assertStringIncludes(
    retried.sentence,
    `${payments} could not process its order.created: the payment provider`,
  );
  assertEquals([retried.action, typeof retried.retryAt], [null, "string"]);

  const gone = await play("lost-message");
  await eventually("order.created to be lost", async () => {
    const { count } = await stack.db.sql`
      update outbox_events set published_at = published_at - interval '20 seconds' -- as 20 s later
      where order_id = ${gone} and published_at is not null`;
    return count === 1;
  });
  const lost = await until(stack, gone, "lost");
  assertStringIncludes(lost.sentence, "seems lost, and will be sent again in about ");
  await follow(stack, lost);
  assertEquals((await until(stack, gone, "final")).sentence, "Nothing: COMPLETED is final.");

  const dead = await until(stack, down, "dead-letter", RETRIES_MS);
  assertStringIncludes(dead.sentence, `"retries exhausted": it is dead letter ${dead.deadLetterId}.`);
  const told = await status(down);
  assertEquals([told.code, told.err], [2, ""]);
  const lines = [`Order ${down}: PENDING`, dead.sentence, `Since ${dead.since}.`, dead.action];
  assertEquals(told.out.split("\n"), [...lines, ""]);
  await follow(stack, dead);
  await until(stack, down, "final");

  await stack.stop("payments-order-created");
  const unheard = await play("order-success");
  const noConsumer = await until(stack, unheard, "no-consumer");
  assertEquals(noConsumer.sentence, `Its order.created waits: no consumer on ${payments}.`);
  await stack.stop("outbox-relay");
  const unsent = await play("order-success");
  const silent = await until(stack, unsent, "relay-silent");
  assertEquals(silent.action, "Start a relay: deno task worker:outbox-relay.");
  const json = await status(unsent.slice(0, 35), "--json");
  assertEquals([json.code, JSON.parse(json.out)], [2, silent]);
  stack.start("payments-order-created");
  stack.start("outbox-relay");
  for (const id of [unheard, unsent]) await until(stack, id, "final");
  const { since } = await until(stack, unsent, "final");
  const out = `Order ${unsent}: COMPLETED\nNothing: COMPLETED is final.\nSince ${since}.\n`;
  assertEquals(await status(unsent), { code: 0, out, err: "" });
  assertEquals((await status("one", "two")).code, 64);
});

Deno.test("an event that was sent again is on its way since then: a letter that was discarded before holds nothing up", async () => {
  await using db = await testSchema();
  const ops = db.as("orderflow_ops");
  const binding = { consumer: "payments", type: "order.created" };
  const { event } = orderCreated();
  const { eventId, data: { orderId } } = event;
  await appendEvents(db.sql, [{ event, traceparent: null }]);
  await db.sql`update outbox_events set published_at = now() - interval '1 hour'`;
  await insertDeadLetters(db.sql, [newLetter("payments", { eventId })]);
  await db
    .sql`update dead_letters set state = 'DISCARDED', resolution = 'r', resolved_at = now() - interval '1 minute'`;
  const read = async () => (await readOpenCopies(ops, orderId, [binding]))[0];
  assertEquals((await read())?.letter?.state, "DISCARDED");
  assert((await prepareReplay(ops, { eventId }, [binding], new Date(0))).replay);
  const [{ at } = { at: null }] = await db.sql`
    update replay_events set result = 'SENT', settled_at = now() returning settled_at as at`;
  const { letter, sentAt } = await read() ?? {};
  assertEquals([letter, sentAt], [null, at]);
});

Deno.test("GET /ops/orders/:id/why is a 404 where there is no such order", async () => {
  await using db = await testSchema();
  assertEquals((await testApp(db).ask(`GET /ops/orders/${crypto.randomUUID()}/why`)).status, 404);
});
