import { assertEquals } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import { runAudit } from "../shared/ops/audit.ts";
import { balance, keepOrdering, readBooks } from "./chaos/ledger.ts";
import { eventually } from "./support/eventually.ts";
import { settled } from "./support/ledger.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack } from "./support/test_stack.ts";

shareTestSchema();

const ORDERS = 1000;
/** So many orders lie between two restarts. */
const EVERY = 100;

Deno.test("every process is stopped and started again under load, one after the other: nothing is lost, nor even done twice", async () => {
  await using stack = await startStack({}, { apart: [] });
  const codes: string[] = [];
  let ordered = 0;
  const load = keepOrdering(stack.url, {
    orders: ORDERS,
    connections: 16,
    // Ahead of the restarts, but not by so much that there would be no load beneath the last of them.
    async gate() {
      while (codes.length < stack.processes.length && ordered >= (codes.length + 2) * EVERY) await delay(5);
    },
    stop: AbortSignal.timeout(120_000),
    onAccepted: (count) => ordered = count,
  });
  for (const name of stack.processes) {
    await eventually(`load for ${name}`, () => ordered >= (codes.length + 1) * EVERY, 60_000);
    codes.push(`${name} ${await stack.stop(name)}`);
    stack.start(name);
  }
  const { accepted, answeredTwice, unanswered } = await load;
  await settled(stack);
  assertEquals(codes, stack.processes.map((name) => `${name} 0`), "processes that did not stop cleanly");
  const { sql } = stack.db;
  const { lost, duplicated, stuck, wrong } = balance({ accepted, answeredTwice }, await readBooks(sql));
  assertEquals({ accepted: accepted.size, unanswered }, { accepted: ORDERS, unanswered: 0 });
  assertEquals({ lost, duplicated, stuck, wrong }, { lost: 0, duplicated: 0, stuck: 0, wrong: 0 });
  // Who is asked to stop finishes and acks what it has in hand: nobody gets it a second time.
  const [inbox] = await sql`select sum(duplicates)::int as repeats from processed_events`;
  assertEquals(inbox?.repeats, 0, "events that were processed and came again");
  const { checks } = await runAudit(stack.db.as("orderflow_ops"), stack.broker.topology, { graceSeconds: 0 });
  assertEquals(checks.filter(({ count }) => count > 0), []);
});
