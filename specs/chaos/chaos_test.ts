import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { OrderStatus } from "../../shared/order_status.ts";
import { PROCESSES } from "../../workers/dev/processes.ts";
import { balance } from "../support/ledger.ts";
import type { Course } from "../support/place_orders.ts";
import { runTask } from "../support/run_task.ts";
import { FAULT_KINDS } from "./faults.ts";
import { countByKind, describeFault, type Fault, scheduleFaults } from "./schedule.ts";

Deno.test("300 orders under 18 faults of every kind: nothing is lost, duplicated or stuck", async () => {
  const flags = ["--seed=1", "--orders=300", "--faults=18", "--settle=60"];
  const { code, out, err } = await runTask("chaos", flags);
  const about = `${err}${out}`;
  assertEquals([code, out.endsWith("Passed.\n")], [0, true], about);
  const said = new Map(out.split("\n").map((line) => [line.slice(0, 36).trim(), line.slice(36)]));
  assertEquals(said.get("orders in the database"), "COMPLETED 240, PAYMENT_FAILED 30, REFUNDED 30", about);
  const atWork = [...Object.keys(FAULT_KINDS), "events sent again", "malformed messages"];
  assertEquals(atWork.filter((what) => !/^[1-9]/.test(said.get(what) ?? "")), [], about);
  const zeroes = ["lost", "duplicated", "stuck", "wrong", "unanswered requests"];
  assertEquals(zeroes.filter((what) => said.get(what) !== "0"), [], about);
});

Deno.test("deno task chaos --schedule prints the same schedule for the same seed, and ends with 1 where it cannot run", async () => {
  const flags = ["--schedule", "--seed", "7", "--orders", "10000", "--faults", "100"];
  const [text, json, folder] = await Promise.all([
    runTask("chaos", flags),
    runTask("chaos", [...flags, "--json"]),
    runTask("chaos", ["--keep-logs", "README.md"]),
  ]);
  const planned: Fault[] = JSON.parse(json.out);
  assertEquals([text.code, planned.length], [0, 100], text.err);
  assertEquals(text.out.trim().split("\n"), planned.map(describeFault));
  assertEquals([folder.code, folder.out], [1, ""]);
  assert(folder.err.startsWith("Cannot run chaos: "), folder.err);
});

Deno.test("scheduleFaults() has as many faults as asked for while there is load, and leaves out no kind and no process", () => {
  const orders = fc.integer({ min: 1, max: 20_000 });
  const plan = fc.record({ seed: fc.nat(2 ** 32 - 1), orders, faults: fc.nat(150) });
  fc.assert(fc.property(plan, (plan) => {
    const planned = scheduleFaults(plan);
    const another = JSON.stringify(scheduleFaults({ ...plan, seed: plan.seed + 1 }));
    assert(JSON.stringify(planned) !== another || !plan.faults);
    const moments = planned.map(({ at }) => at);
    assertEquals([moments.length, moments], [plan.faults, moments.toSorted((a, b) => a - b)]);
    assert(moments.every((at) => at >= 1 && at <= Math.max(1, plan.orders * 0.95)));
    const kinds = Object.values(countByKind(planned));
    if (plan.faults >= 18) assertEquals(kinds.filter((count) => count === 0), []);
    const killed = new Set(planned.filter(({ kind }) => kind === "kill").map(({ target }) => target));
    if (plan.faults >= 54) assertEquals(killed.size, PROCESSES.length);
  }));
});

Deno.test("reliability.md's table of faults is FAULT_KINDS", () => {
  const text = Deno.readTextFileSync(new URL("../reliability.md", import.meta.url));
  const [chaos = ""] = text.split("\n## Chaos\n")[1]?.split("\n## ") ?? [];
  const rows = [...chaos.matchAll(/^\| `([\w-]+)` +\| (.+?) +\|$/gm)].map(([, kind, what]) => [kind, what]);
  assertEquals(rows, Object.entries(FAULT_KINDS).map(([kind, { what }]) => [kind, what]));
});

Deno.test("balance() finds what is lost, duplicated, stuck or wrong", () => {
  const accepted = new Map<string, Course>([["a", "success"], ["b", "paymentFailure"]]);
  const ended: [string, OrderStatus][] = [["a", "COMPLETED"], ["b", "PAYMENT_FAILED"]];
  const check = (found: object, orders = ended, answeredTwice = 0, beyondOne = 0) => {
    const none = { lost: 0, duplicated: 0, stuck: 0, wrong: 0 };
    const books = { orders: new Map(orders), beyondOne };
    assertEquals(balance({ accepted, answeredTwice }, books), { ...none, ...found });
  };
  check({});
  check({ lost: 1 }, ended.slice(1));
  check({ duplicated: 1 }, [...ended, ["c", "COMPLETED"]]); // nobody was told of it
  check({ duplicated: 3 }, ended, 1, 2);
  check({ stuck: 1 }, [...ended, ["a", "PAID"]]);
  check({ wrong: 1 }, [...ended, ["b", "COMPLETED"]]);
});
