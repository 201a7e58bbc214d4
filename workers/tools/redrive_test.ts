import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { readFlags, UsageError } from "./command.ts";
import { databaseTime, REDRIVE_FLAGS, redriveOptions, showOutcome } from "./redrive.ts";
import { AT, figures, liveProcess, systemStatus } from "./testdata/statuses.ts";
import { insertDeadLetters } from "../../shared/sql/set_aside.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { runTask } from "../../specs/support/run_task.ts";
import { newLetter } from "../../specs/support/test_events.ts";
import { shareTestSchema } from "../../specs/support/test_schema.ts";
import { startStack } from "../../specs/support/test_stack.ts";

Deno.test("showOutcome() has a line for each kind of end, and why the broker refused the first ten", () => {
  const refused = Array.from({ length: 11 }, (_, i) => ({ id: `${i}`, error: "NO_ROUTE" }));
  const ends = { redriven: 3, alreadyProcessed: 1, discarded: 0, gone: 2, untouched: 4 };
  const lines = showOutcome({ ...ends, refused });
  assertEquals(lines.slice(0, 6), [
    "3 dead letters sent to their consumers again.",
    "1 dead letter closed unsent: their consumers have processed the event meanwhile.",
    "2 dead letters dealt with by somebody else meanwhile.",
    "11 dead letters left open: the broker did not take them.",
    "4 dead letters left open: it was cancelled before.",
    "  0: NO_ROUTE",
  ]);
  assertEquals([lines.length, lines.at(-1)], [16, "  and 1 more"]);
});

Deno.test("databaseTime() is the API's, without what its clock is ahead of the database's", () => {
  assertEquals(databaseTime(systemStatus(figures())), Date.parse(AT));
  const api = liveProcess({ name: "api", clockAheadMs: 90_000 });
  assertEquals(databaseTime(systemStatus(figures({ processes: [api] }))), Date.parse(AT) - 90_000);
});

shareTestSchema();

/** Puts `count` letters in, each of another order, given up on `minutesAgo`. Answers with their ids, oldest first. */
async function insertLetters(sql: Sql, consumer: string, count: number, minutesAgo = 0) {
  await insertDeadLetters(sql, Array.from({ length: count }, () => newLetter(consumer)));
  const at = sql`now() - ${minutesAgo} * interval '1 minute'`;
  await sql`update dead_letters set first_failed_at = ${at}, last_failed_at = ${at} where consumer = ${consumer}`;
  const rows = await sql`select id from dead_letters where consumer = ${consumer} order by id`;
  return rows.map(({ id }): string => id);
}

async function countBy(sql: Sql): Promise<Record<string, number>> {
  const rows = await sql<{ key: string; count: number }[]>`
    select coalesce(resolution, state) as key, count(*)::int as count from dead_letters group by 1`;
  return Object.fromEntries(rows.map(({ key, count }) => [key, count]));
}

Deno.test("deno task redrive sends what it has shown, tells what the broker refuses, and discards with a reason", async () => {
  await using stack = await startStack({}, { apart: [], processes: ["api"] });
  const { sql } = stack.db;
  const redrive = async (...args: string[]) => {
    const { err, ...ended } = await runTask("redrive", [...args, `--url=${stack.url}`]);
    assertEquals(err, "");
    return ended;
  };
  const { paymentsOrderCreated: { name }, ordersPaymentEvents } = stack.broker.topology.queues;
  const old = await insertLetters(sql, name, 130, 60); // more than one page
  await insertLetters(sql, ordersPaymentEvents.name, 2);
  const [unroutable = ""] = await insertLetters(sql, "no.such.queue", 1);

  const dry = await redrive("--dry-run", `--consumer=${name}`, "--older-than=30m");
  assertEquals([dry.code, await countBy(sql)], [0, { OPEN: 133 }]);
  const [first, letter = "", ...shown] = dry.out.split("\n");
  assertEquals([first, shown[9]], ["130 dead letters, oldest first:", "  and 120 more"]);
  assertMatch(letter, new RegExp(`^  ${old[0]}  \\S+Z  ${name}  order.created  .+, order \\S+$`));
  const advice = /^Nothing has been done\. Do it with exactly these: .*redrive --set=(\S+)/;
  const set = shown[10]?.match(advice)?.[1];

  await insertLetters(sql, name, 1, 60); // meanwhile
  const done = await redrive("--yes", "--json", `--set=${set}`);
  const { letters, ...rest } = JSON.parse(done.out);
  assertEquals([done.code, letters.map(({ id }: { id: string }) => id)], [0, old]);
  const outcome = { redriven: 130, alreadyProcessed: 0, discarded: 0, refused: [], gone: 0, untouched: 0 };
  assertEquals(rest, { action: "redrive", dryRun: false, setId: set, more: false, outcome });
  assertEquals(await countBy(sql), { OPEN: 4, redriven: 130 });

  const refused = await redrive(unroutable, "--yes");
  assertEquals(refused.code, 2);
  assertStringIncludes(refused.out, `  ${unroutable}: returned by the broker: NO_ROUTE`);
  const discarded = await redrive("--all", "--discard", "--because=a test of ours", "--yes");
  assertEquals([discarded.code, await countBy(sql)], [0, { "a test of ours": 4, redriven: 130 }]);
  assertStringIncludes(discarded.out, "4 dead letters discarded.\n");

  const none = await redrive("--all", "--yes", "--json");
  assertEquals([none.code, JSON.parse(none.out).letters], [0, []]);
  const closed = await runTask("redrive", [unroutable, "--yes", `--url=${stack.url}`]);
  assertEquals([closed.code, closed.out], [1, ""]);
  assertStringIncludes(closed.err, `${unroutable} is closed: DISCARDED, a test of ours. Nothing was done.`);
});

Deno.test("redriveOptions() names what is wrong with the flags", () => {
  const id = crypto.randomUUID();
  const cases: [string[], string][] = [
    [["--yes"], "Say which dead letters"],
    [["--all", "--consumer=x", "--yes"], "not two of these"],
    [[id, "--all", "--yes"], "not two of these"],
    [["seven", "--yes"], '"seven" is no id of a dead letter'],
    [["--order=7", "--yes"], "--order must be a uuid"],
    [["--older-than=soon", "--yes"], '--older-than takes an age such as 90s, 15m, 2h or 7d, not "soon"'],
    [["--all", "--discard", "--yes"], "--discard takes --because=<why>"],
    [["--all", "--because=x", "--yes"], "--because is for --discard"],
  ];
  const read = (args: string[]) => {
    const given = readFlags(args, REDRIVE_FLAGS, true);
    return given && redriveOptions(given.flags, given.rest);
  };
  for (const [args, why] of cases) assertThrows(() => read(args), UsageError, why);
});
