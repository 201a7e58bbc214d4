import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { PROCESSES } from "../../workers/dev/processes.ts";
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

const root = fileURLToPath(new URL("../..", import.meta.url));

async function chaos(...flags: string[]): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "--no-prompt", "-P=chaos", "specs/chaos/chaos_main.ts", ...flags],
    cwd: root,
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: decode(stdout), err: decode(stderr) };
}

Deno.test("deno task chaos --schedule prints the same schedule for the same seed, and does nothing else", async () => {
  const flags = ["--schedule", "--seed", "7", "--orders", "10000", "--faults", "100"];
  const [first, second] = await Promise.all([chaos(...flags), chaos(...flags)]);
  assertEquals(first, second);
  assertEquals([first.code, first.out.trim().split("\n").length], [0, 100], first.err);
  const missing = PROCESSES.filter(({ name }) => !first.out.includes(`kill ${name}`));
  assertEquals(missing, []);
});

Deno.test("deno task chaos says which flag is wrong, and what it takes", async () => {
  const { code, out, err } = await chaos("--orders", "many");
  assertEquals([code, out], [78, ""]);
  assert(err.includes("--orders must be a whole number from 1 to 1000000"), err);
  const unknown = await chaos("--order", "5");
  assertEquals(unknown.code, 78);
  assert(unknown.err.includes("--order") && unknown.err.includes("Usage: deno task chaos"), unknown.err);
});
