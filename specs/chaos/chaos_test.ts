import { assert, assertEquals } from "@std/assert";
import { z } from "zod";
import { PROCESSES } from "../../workers/dev/processes.ts";
import { runTask } from "../support/run_task.ts";
import { chaosReport } from "./report.ts";
import { runChaos } from "./run_chaos.ts";

Deno.test("300 orders under 12 faults of every kind: nothing is lost, duplicated or stuck", async () => {
  const lines: string[] = [];
  const report = await runChaos({
    seed: 1,
    orders: 300,
    faults: 12,
    connections: 16,
    settleMs: 60_000,
    stop: new AbortController().signal,
    say: (line) => lines.push(line),
  });
  const text = [...lines, ...chaosReport(report)].join("\n");
  assert(report.passed, text);
  const { accepted, orders, lost, duplicated, stuck, wrong } = report.ledger;
  assertEquals([accepted, lost, duplicated, stuck, wrong], [300, 0, 0, 0, 0], text);
  assertEquals(orders, { COMPLETED: 240, PAYMENT_FAILED: 30, REFUNDED: 30 }, text);
  assertEquals(Object.entries(report.faults).filter(([, count]) => count === 0), [], text);
  assert(report.resent > 0 && report.malformed > 0, text);
  assertEquals(report.settlement.redriven, {}, text);
});

const chaos = (...flags: string[]) => runTask("chaos", flags);

Deno.test("deno task chaos --schedule prints the same schedule for the same seed, and does nothing else", async () => {
  const flags = ["--schedule", "--seed", "7", "--orders", "10000", "--faults", "100"];
  const [first, second] = await Promise.all([chaos(...flags), chaos(...flags)]);
  assertEquals(first, second);
  assertEquals([first.code, first.out.trim().split("\n").length], [0, 100], first.err);
  const missing = PROCESSES.filter(({ name }) => !first.out.includes(`kill ${name}`));
  assertEquals(missing, []);
  const json = await chaos(...flags, "--json");
  assertEquals([json.code, json.err], [0, ""]);
  const planned = z.array(z.object({ kind: z.string() })).parse(JSON.parse(json.out));
  assertEquals(planned.filter(({ kind }) => kind === "kill").length, first.out.match(/kill /g)?.length);
});

Deno.test("deno task chaos ends with 64 for a wrong usage and says what the flag takes, with 1 where it cannot run", async () => {
  const [value, unknown, folder] = await Promise.all([
    chaos("--orders", "many"),
    chaos("--order", "5"),
    chaos("--keep-logs", "README.md"),
  ]);
  assertEquals([value.code, value.out], [64, ""]);
  assert(value.err.includes('--orders must be a whole number from 1 to 1000000, not "many"'), value.err);
  assertEquals([unknown.code, unknown.out], [64, ""]);
  assert(unknown.err.startsWith("There is no flag --order ("), unknown.err);
  assertEquals([folder.code, folder.out], [1, ""]);
  assert(folder.err.startsWith("Cannot run chaos: "), folder.err);
});
