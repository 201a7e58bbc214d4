import { assertEquals, assertObjectMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { readFlags, UsageError } from "./command.ts";
import { REPLAY_FLAGS, replayOptions, showEnd, showSet } from "./replay.ts";
import { replayOutcomeSchema } from "../../shared/ops/answers.ts";
import { insertDeadLetters } from "../../shared/sql/set_aside.ts";
import { call } from "../../specs/support/http.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { settled } from "../../specs/support/ledger.ts";
import { insertHistory, newLetter, orderCreated } from "../../specs/support/test_events.ts";
import { placeOrders } from "../../specs/support/place_orders.ts";
import { runTask, taskCommand } from "../../specs/support/run_task.ts";
import { shareTestSchema } from "../../specs/support/test_schema.ts";
import { startStack } from "../../specs/support/test_stack.ts";

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

Deno.test("deno task replay sends what it has shown; on Ctrl-C it cancels the replay, and says how far it got", async () => {
  await using stack = await startStack({}, { apart: [], processes: ["api", "outbox-relay"] });
  const { sql } = stack.db;
  for (let orders = 0; orders < 10; orders++) await insertHistory(sql, "COMPLETED");
  const replay = async (...args: string[]) => {
    const { code, out, err } = await runTask("replay", [...args, `--url=${stack.url}`]);
    assertEquals([code, err], [0, ""]);
    return out;
  };
  const shown = await replay("--type=payment.succeeded", "--dry-run");
  assertStringIncludes(shown, ": 20 messages.");
  const id = shown.match(/Nothing has been sent.*--start=(\S+)/)?.[1] ?? "";
  assertEquals((await sql`select state from replays`).map(({ state }) => state), ["PREPARED"]);
  assertStringIncludes(await replay(`--start=${id}`, "--yes"), "Done: 20 messages.");
  const { ordersPaymentEvents: { name } } = stack.broker.topology.queues;
  const told = await replay(
    "--type=payment.succeeded",
    `--consumer=${name}`,
    "--rate=5000",
    "--yes",
    "--json",
  );
  assertObjectMatch(JSON.parse(told), { state: "DONE", total: 10, sent: 10, ratePerSecond: 5000 });

  const slowly = ["--type=order.created", "--rate=1", "--yes", `--url=${stack.url}`];
  const child = taskCommand("replay", slowly).spawn();
  const underWay = async () => (await sql`select state, sent from replays where sent > 0 and rate = 1`)[0];
  await eventually("the first message", underWay);
  child.kill("SIGINT");
  const { code, stdout, stderr } = await child.output();
  const [out = "", err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  const row = await underWay();
  assertEquals([code, err, row?.state], [1, "", "CANCELLED"]);
  assertStringIncludes(out, `Cancelled after ${row?.sent} of 10 messages: cancelled by an operator.`);
});

Deno.test("a set that is started is sent by the relay, and says what was processed, absorbed, or has failed again", async () => {
  await using stack = await startStack({}, { apart: [] });
  const { sql, url } = { ...stack.db, url: stack.url };
  const { paymentsOrderCreated: { name } } = stack.broker.topology.queues;
  const outcomeOf = async (id: string) => {
    const outcome = await call(url, `GET /ops/replays/${id}/outcome`);
    return replayOutcomeSchema.parse(outcome).consumers.map((
      { became, alreadyProcessed },
    ) => [became, alreadyProcessed]);
  };
  const sentAs = async (id: string, ...wanted: unknown[]) => {
    await call(url, `POST /ops/replays/${id}/start`, { ratePerSecond: 10 });
    await eventually("what each comes to", async () => {
      assertEquals(await outcomeOf(id), [wanted]);
      return true;
    });
  };
  await placeOrders(url, { orders: 2, connections: 2 });
  await settled(stack);
  const events = await call(url, "POST /ops/replays", { type: "order.created" });
  await sentAs(events.id, { absorbed: 2 }, 2);

  const body = new TextEncoder().encode("{");
  const { event } = orderCreated();
  const sound = { eventId: event.eventId, body: new TextEncoder().encode(JSON.stringify(event)) };
  await insertDeadLetters(sql, [
    newLetter(name, { eventId: null, body }),
    newLetter(name, { eventId: null, cutFrom: 5_000_000 }),
    newLetter(name, sound),
  ]);
  const letters = await call(url, "POST /ops/dead-letters/sets", {});
  assertEquals(await outcomeOf(letters.id), [[{ unsent: 3 }, 0]]);
  await sentAs(letters.id, { "failed again": 1, skipped: 1, processed: 1 }, 1);
  const states = await sql`select state from dead_letters where consumer = ${name} order by id`; // nobody has its order
  assertEquals(states.map(({ state }) => state), ["REDRIVEN", "OPEN", "REDRIVEN", "OPEN"]);
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
