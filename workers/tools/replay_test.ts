import { assertEquals, assertObjectMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { readFlags, UsageError } from "./command.ts";
import { REPLAY_FLAGS, replayOptions, showEnd, showSet } from "./replay.ts";
import { replayOutcomeSchema } from "../../shared/ops/answers.ts";
import { insertDeadLetters } from "../../shared/sql/set_aside.ts";
import { call } from "../../specs/support/http.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { countHearings, fingerprint, settled } from "../../specs/support/ledger.ts";
import { insertHistory, newLetter, orderCreated } from "../../specs/support/test_events.ts";
import { placeOrders } from "../../specs/support/place_orders.ts";
import { runTask, taskCommand } from "../../specs/support/run_task.ts";
import { shareTestSchema } from "../../specs/support/test_schema.ts";
import { startStack, type TestStack } from "../../specs/support/test_stack.ts";

const AT = "2026-11-22T17:15:43.113Z";
const times = { createdAt: AT, expiresAt: AT, startedAt: null, finishedAt: null };
const counts = { total: 12, alreadyProcessed: 3, sent: 0, skipped: 0, ratePerSecond: null };
const about = {
  id: "r1",
  action: "REPLAY",
  filter: {},
  state: "PREPARED",
  lastError: null,
  reason: null,
} as const;
const replay = { ...about, ...counts, ...times };

Deno.test("showSet() has the count, the first ten messages in columns, and where the others are; showEnd() how it ended", () => {
  const sent = { deadLetterId: null, processed: false, became: "unsent", error: null } as const;
  const event = { position: 1, eventId: "e", consumer: "payments", correlationId: null, ...sent };
  const kept = { ...event, type: "order.created", orderId: "o1", occurredAt: AT };
  const pruned = { ...event, type: null, orderId: null, occurredAt: null };
  const events = [kept, pruned, ...Array(10).fill(kept)];
  const lines = showSet({ ...replay, events, nextCursor: null });
  assertEquals(lines.slice(0, 4), [
    "Replay r1: 12 messages.",
    "3 of them their consumer has processed: it will absorb those, and count the repeat.",
    `  ${AT}  order.created  order o1  payments`,
    `  pruned                    -              -         payments`,
  ]);
  assertEquals([lines.length, lines.at(-1)], [13, "  and 2 more: /ops/replays/r1/events"]);
  const end = showEnd({ ...replay, state: "DONE", sent: 12, skipped: 2 });
  assertEquals(end, "Done: 12 messages, 2 of them skipped: their events are too old or pruned.");
});

shareTestSchema();

/** To whom a set went, and what it came to there. */
async function outcomeOf({ url }: TestStack, id: string) {
  return replayOutcomeSchema.parse(await call(url, `GET /ops/replays/${id}/outcome`)).consumers;
}

Deno.test("deno task replay sends what it has shown: a repeat is absorbed and counted, what was missing is processed", async () => {
  await using stack = await startStack({}, { apart: [] });
  const { sql } = stack.db;
  const replayed = (...args: string[]) => runTask("replay", [...args, `--url=${stack.url}`]);
  await placeOrders(stack.url, { orders: 2, connections: 2 });
  await settled(stack);
  const messages = 2 * countHearings("enrollment.granted");
  const shown = await replayed("--type=enrollment.granted", "--dry-run");
  assertEquals([shown.code, shown.err], [0, ""]);
  assertStringIncludes(shown.out, `: ${messages} messages.`);
  assertStringIncludes(shown.out, `${messages} of them their consumer has processed`);
  const id = shown.out.match(/Nothing has been sent.*--start=(\S+)/)?.[1] ?? "";
  await placeOrders(stack.url, { orders: 1, connections: 1 }); // whose events are not in the set
  await settled(stack);
  const set = await sql`select event_id as id from replay_events where replay_id = ${id}`;
  const duplicates = async () => await sql`select event_id as id from processed_events where duplicates > 0`;
  assertEquals((await duplicates()).count, 0);

  const before = await fingerprint(sql);
  const done = await replayed(`--start=${id}`, "--yes");
  assertEquals([done.code, done.err], [0, ""]);
  assertStringIncludes(done.out, `Done: ${messages} messages.`);
  await eventually("the repeats", async () => (await duplicates()).count === messages);
  assertEquals(new Set((await duplicates()).map(({ id }) => id)), new Set(set.map(({ id }) => id)));
  assertEquals(await fingerprint(sql), before, "a repeat changed something");
  for (const { became } of await outcomeOf(stack, id)) assertEquals(became, { absorbed: 2 });

  // What its consumer has not processed gets processed: as if the notification had never been made.
  const { notificationsFinalEvents: { name } } = stack.broker.topology.queues;
  const event = set[0]?.id;
  await sql`delete from processed_events where consumer = ${name} and event_id = ${event}`;
  await sql`delete from notifications where order_id = (select order_id from outbox_events where id = ${event})`;
  const filter = ["--type=enrollment.granted", `--consumer=${name}`];
  const again = await replayed(...filter, "--yes", "--rate=5000", "--json");
  assertEquals([again.code, again.err], [0, ""]);
  const { id: second, state, total, sent } = JSON.parse(again.out);
  assertEquals([state, total, sent], ["DONE", 3, 3]);
  await eventually("the notification", async () => (await sql`select from notifications`).count === 3);
  assertEquals((await outcomeOf(stack, second))[0]?.became, { absorbed: 2, processed: 1 });
  const { notifications = "", outbox_events = "" } = before; // these two alone have something new
  assertEquals({ ...await fingerprint(sql), notifications, outbox_events }, before);
});

Deno.test("a set of letters that is started is sent by the relay, and says what was processed, absorbed, or has failed again", async () => {
  await using stack = await startStack({}, { apart: [] });
  const { sql } = stack.db;
  const { paymentsOrderCreated: { name } } = stack.broker.topology.queues;
  const lost = orderCreated();
  await insertDeadLetters(sql, [
    newLetter(name, { eventId: null, body: new TextEncoder().encode("{") }),
    newLetter(name, { eventId: null, cutFrom: 5_000_000 }),
    newLetter(name, {
      eventId: lost.event.eventId,
      body: new TextEncoder().encode(JSON.stringify(lost.event)),
    }),
  ]);
  const { id } = await call(stack.url, "POST /ops/dead-letters/sets", {});
  const expected = { became: { unsent: 3 }, alreadyProcessed: 0 };
  assertObjectMatch((await outcomeOf(stack, id))[0] ?? {}, expected);
  await call(stack.url, `POST /ops/replays/${id}/start`, { ratePerSecond: 10 });
  const wanted = { "failed again": 1, skipped: 1, processed: 1 };
  await eventually("what each comes to", async () => {
    assertEquals((await outcomeOf(stack, id))[0]?.became, wanted);
    return true;
  });
  const states = await sql`select state from dead_letters order by id`;
  assertEquals(states.map(({ state }) => state), ["REDRIVEN", "OPEN", "REDRIVEN", "OPEN"]);
});

Deno.test("deno task replay cancels the replay on Ctrl-C, and says how far it got", async () => {
  await using stack = await startStack({}, { apart: [], processes: ["api", "outbox-relay"] });
  for (let orders = 0; orders < 10; orders++) await insertHistory(stack.db.sql, "COMPLETED");
  const args = ["--type=order.created", "--rate=1", "--yes", `--url=${stack.url}`];
  const child = taskCommand("replay", args).spawn();
  const { sql } = stack.db;
  const sent = async () => (await sql`select state, sent from replays where sent > 0`)[0];
  await eventually("the first message", sent);
  child.kill("SIGINT");
  const { code, stdout, stderr } = await child.output();
  const [out = "", err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  assertEquals([code, err], [1, ""]);
  const row = await sent();
  assertEquals(row?.state, "CANCELLED");
  assertStringIncludes(out, `Cancelled after ${row?.sent} of 10 messages: cancelled by an operator.`);
});

Deno.test("replayOptions() names what is wrong with the flags", () => {
  const cases: [string[], string][] = [
    [["--dry-run"], "Say which events: at least one filter, or --start"],
    [["--type=order.lost", "--dry-run"], "--type must be one of order.created"],
    [["--order=7", "--dry-run"], "--order must be a uuid"],
    [["--correlation-id=a b", "--dry-run"], "--correlation-id must be"],
    [["--type=order.created", "--rate=5001", "--yes"], "--rate must be a whole number from 1 to 5000"],
    [["--start=7", "--yes"], "--start must be a uuid"],
    [["--type=order.created", `--start=${crypto.randomUUID()}`, "--yes"], "leave the filters away"],
  ];
  const read = (args: string[]) => {
    const given = readFlags(args, REPLAY_FLAGS);
    return given && replayOptions(given.flags);
  };
  for (const [args, why] of cases) assertThrows(() => read(args), UsageError, why);
});
