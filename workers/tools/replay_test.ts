import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { z } from "zod";
import { UsageError } from "./command.ts";
import { readReplayFlags, showEnd, showSet } from "./replay.ts";
import { QUEUES } from "../../shared/topology.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { countHearings, countUnfinished, countUnprocessed, fingerprint } from "../../specs/support/ledger.ts";
import { insertHistory } from "../../specs/support/order_history.ts";
import { placeOrders } from "../../specs/support/place_orders.ts";
import { runTask, taskCommand } from "../../specs/support/run_task.ts";
import { shareTestSchema } from "../../specs/support/test_schema.ts";
import { startStack, type TestStack } from "../../specs/support/test_stack.ts";

const replay = {
  id: "r1",
  state: "PREPARED",
  total: 12,
  alreadyProcessed: 3,
  sent: 0,
  skipped: 0,
  lastError: null,
  reason: null,
} as const;

Deno.test("showSet() has the count, the first ten messages in columns, and where the others are", () => {
  const at = "2026-11-22T17:15:43.113Z";
  const event = { eventId: "e", consumer: "payments", type: "order.created", orderId: "o1", occurredAt: at };
  const pruned = { eventId: "e", consumer: "payments", type: null, orderId: null, occurredAt: null };
  const lines = showSet(replay, [event, pruned, ...Array(10).fill(event)]);
  assertEquals(lines.slice(0, 4), [
    "Replay r1: 12 messages.",
    "3 of them their consumer has processed: it will absorb those, and count the repeat.",
    `  ${at}  order.created  order o1  payments`,
    `  pruned                    -              -         payments`,
  ]);
  assertEquals(lines.length, 2 + 10 + 1);
  assertEquals(lines.at(-1), "  and 2 more: /ops/replays/r1/events");
});

Deno.test("showEnd() says how many were sent or skipped, and why it ended early", () => {
  const done = { ...replay, state: "DONE", sent: 12, skipped: 2 } as const;
  assertEquals(showEnd(done), "Done: 12 messages, 2 of them skipped: their events are too old or pruned.");
  const ended = { ...replay, state: "CANCELLED", sent: 4, reason: "enough" } as const;
  assertEquals(showEnd(ended), "Cancelled after 4 of 12 messages: enough.");
});

shareTestSchema();

const runReplay = (args: readonly string[], env: Record<string, string> = {}) =>
  runTask("replay", args, { env });

/** Places orders that complete, and waits until all of their events have been processed. */
async function completedOrders(stack: TestStack, orders: number): Promise<void> {
  await placeOrders(stack.url, { orders, connections: 4 });
  const { sql } = stack.db;
  await eventually("the orders to end", async () => await countUnfinished(sql) === 0, 60_000);
  const queues = Object.values(stack.broker.topology.queues);
  const consumers = new Map(queues.map(({ name, bindings }) => [name, bindings]));
  await eventually("their events", async () => await countUnprocessed(sql, consumers) === 0);
}

const toldSchema = z.object({ id: z.string(), state: z.string(), total: z.number(), sent: z.number() });
const token = "a-token-of-enough-characters";

Deno.test("deno task replay sends what it has shown: a repeat is absorbed and counted, what was missing is processed", async () => {
  await using stack = await startStack({ OPS_TOKEN: token }, { apart: [] });
  const { sql } = stack.db;
  await completedOrders(stack, 2);
  const messages = 2 * countHearings("enrollment.granted");
  const url = `--url=${stack.url}`;
  const shown = await runReplay(["--type=enrollment.granted", "--dry-run", url], { OPS_TOKEN: token });
  assertEquals([shown.code, shown.err], [0, ""]);
  assertStringIncludes(shown.out, `: ${messages} messages.`);
  assertStringIncludes(shown.out, `${messages} of them their consumer has processed`);
  assertStringIncludes(shown.out, "Nothing has been sent.");
  const id = shown.out.match(/--start=(\S+)/)?.[1] ?? "";
  const { notificationsFinalEvents: notifications } = stack.broker.topology.queues;
  await completedOrders(stack, 1); // whose events are not in the set
  const set = await sql`select event_id as id from replay_events where replay_id = ${id}`;
  const duplicates = async () =>
    await sql`select event_id as id, consumer from processed_events where duplicates > 0`;
  assertEquals((await duplicates()).count, 0);

  const before = await fingerprint(sql);
  const done = await runReplay([`--start=${id}`, "--yes", url], { OPS_TOKEN: token });
  assertEquals([done.code, done.err], [0, ""]);
  assertStringIncludes(done.out, `Done: ${messages} messages.`);
  await eventually("the repeats", async () => (await duplicates()).count === messages);
  assertEquals(new Set((await duplicates()).map(({ id }) => id)), new Set(set.map(({ id }) => id)));
  assertEquals(await fingerprint(sql), before, "a repeat changed something");

  // What its consumer has not processed gets processed: as if the notification had never been made.
  const [lost] = await sql`
    delete from processed_events where consumer = ${notifications.name} and event_id = ${
    set[0]?.id
  } returning event_id`;
  assert(lost);
  await sql`
    delete from notifications where order_id = (select order_id from outbox_events where id = ${lost.event_id})`;
  const again = await runReplay(
    ["--type=enrollment.granted", `--consumer=${notifications.name}`, "--yes", "--rate=5000", "--json", url],
    { OPS_TOKEN: token },
  );
  assertEquals([again.code, again.err], [0, ""]);
  const end = toldSchema.parse(JSON.parse(again.out));
  assertEquals([end.state, end.total, end.sent], ["DONE", 3, 3]);
  await eventually("the notification", async () => (await sql`select from notifications`).count === 3);
  const { orders, payments, enrollments } = await fingerprint(sql);
  assertEquals({ orders, payments, enrollments }, {
    orders: before.orders,
    payments: before.payments,
    enrollments: before.enrollments,
  });

  const refused = await runReplay(["--type=order.created", "--dry-run", url]);
  assertEquals(refused.code, 1);
  assertStringIncludes(refused.err, "OPS_TOKEN");
});

Deno.test("deno task replay cancels the replay on Ctrl-C, and says how far it got", async () => {
  await using stack = await startStack({}, { apart: [], processes: ["api", "outbox-relay"] });
  for (let orders = 0; orders < 10; orders++) await insertHistory(stack.db.sql, "COMPLETED");
  const args = ["--type=order.created", "--rate=1", "--yes", `--url=${stack.url}`];
  const child = taskCommand("replay", args).spawn();
  const { sql } = stack.db;
  await eventually(
    "the first message",
    async () => (await sql`select from replays where sent > 0`).count === 1,
  );
  child.kill("SIGINT");
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals([code, text(stderr)], [1, ""]);
  const [row] = await sql`select state, sent, reason from replays`;
  assertEquals([row?.state, row?.reason], ["CANCELLED", "cancelled by an operator"]);
  assertStringIncludes(
    text(stdout),
    `Cancelled after ${row?.sent} of 10 messages: cancelled by an operator.`,
  );
});

Deno.test("readReplayFlags() names what is wrong with the flags", () => {
  const cases: [string[], string][] = [
    [["--dry-run"], "Say which events: at least one filter, or --start"],
    [["--type=order.lost", "--dry-run"], "--type must be one of order.created"],
    [["--order=7", "--dry-run"], "--order must be a uuid"],
    [["--correlation-id=a b", "--dry-run"], "--correlation-id must be"],
    [["--type=order.created", "--rate=5001", "--yes"], "--rate must be a whole number from 1 to 5000"],
    [["--start=7", "--yes"], "--start must be a uuid"],
    [["--type=order.created", `--start=${crypto.randomUUID()}`, "--yes"], "leave the filters away"],
  ];
  for (const [args, why] of cases) assertThrows(() => readReplayFlags(args), UsageError, why);
});

Deno.test("deno task replay ends with 1 where the API refuses, or is another's, and with 64 for a value that it names", async () => {
  let answer: () => Response = () => new Response("<html>");
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => answer());
  const url = `--url=http://127.0.0.1:${server.addr.port}`;
  const other = await runReplay(["--type=order.created", "--dry-run", url]);
  assertEquals(other.code, 1);
  assertStringIncludes(other.err, "is http://127.0.0.1:");
  const problem = { detail: "Too old to replay.", status: 422 };
  answer = () => Response.json(problem, { status: 422 });
  const old = await runReplay(["--type=order.created", "--yes", url]);
  assertEquals([old.code, old.out, old.err], [1, "", "Too old to replay.\n"]);
  const errors = [{ field: "consumer", detail: `must be one of ${QUEUES.paymentsOrderCreated.name}` }];
  answer = () => Response.json({ detail: "Not valid.", errors }, { status: 400 });
  const consumer = await runReplay(["--consumer=payments", "--yes", url]);
  assertEquals(consumer.code, 64);
  assertStringIncludes(consumer.err, "consumer must be one of payments.order-created.v1");
  await server.shutdown();
});
