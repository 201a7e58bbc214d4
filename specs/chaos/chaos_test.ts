import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { z } from "zod";
import { parseEvent } from "../../shared/events.ts";
import type { OrderStatus } from "../../shared/order_status.ts";
import { QUEUE_KEYS, QUEUES } from "../../shared/topology.ts";
import { PROCESSES } from "../../workers/dev/processes.ts";
import { runTask } from "../support/run_task.ts";
import { reportLines, runChaos } from "./chaos_main.ts";
import { malformedMessages } from "./faults.ts";
import { balance, type Course } from "./ledger.ts";
import { countByKind, FAULT_KINDS, scheduleFaults } from "./schedule.ts";

Deno.test("300 orders under 12 faults of every kind: nothing is lost, duplicated or stuck", async () => {
  const lines: string[] = [];
  const report = await runChaos({ seed: 1, orders: 300, faults: 12 }, {
    connections: 16,
    settleMs: 60_000,
    stop: new AbortController().signal,
    say: (line) => lines.push(line),
  });
  const text = [...lines, ...reportLines(report)].join("\n");
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
  const [text, json] = await Promise.all([chaos(...flags), chaos(...flags, "--json")]);
  assertEquals([text.code, text.out.trim().split("\n").length], [0, 100], text.err);
  const planned = z.array(
    z.object({ number: z.number(), at: z.number(), kind: z.string(), target: z.string() }),
  )
    .parse(JSON.parse(json.out));
  const beginnings = planned.map(({ number, at, kind, target }) =>
    `fault ${number} at order ${at}: ${kind} ${target}`
  );
  assertEquals(text.out.trim().split("\n").map((line) => line.split(",", 1).join()), beginnings);
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

Deno.test("scheduleFaults() has as many faults as asked for while there is load, and leaves out no kind and no process", () => {
  const plan = fc.record({
    seed: fc.nat(2 ** 32 - 1),
    orders: fc.integer({ min: 1, max: 20_000 }),
    faults: fc.nat(150),
  });
  fc.assert(fc.property(plan, (plan) => {
    const planned = scheduleFaults(plan);
    assertEquals(planned, scheduleFaults({ ...plan }));
    assert(
      JSON.stringify(planned) !== JSON.stringify(scheduleFaults({ ...plan, seed: plan.seed + 1 })) ||
        !plan.faults,
    );
    const moments = planned.map(({ at }) => at);
    assertEquals([moments.length, moments], [plan.faults, moments.toSorted((a, b) => a - b)]);
    assert(moments.every((at) => at >= 1 && at <= Math.max(1, plan.orders * 0.95)));
    const kinds = Object.entries(countByKind(planned));
    assertEquals(kinds.map(([kind]) => kind), Object.keys(FAULT_KINDS));
    if (plan.faults >= 12) assertEquals(kinds.filter(([, count]) => count === 0), []);
    const killed = new Set(planned.filter(({ kind }) => kind === "kill").map(({ target }) => target));
    if (plan.faults >= 36) assertEquals(killed.size, PROCESSES.length);
  }));
});

Deno.test("reliability.md's table of faults is FAULT_KINDS", () => {
  const text = Deno.readTextFileSync(new URL("../reliability.md", import.meta.url));
  const [chaos = ""] = text.split("\n## Chaos\n")[1]?.split("\n## ") ?? [];
  const rows = [...chaos.matchAll(/^\| `(\w+)` +\| (.+?) +\|$/gm)].map(([, kind, what]) => [kind, what]);
  assertEquals(rows, Object.entries(FAULT_KINDS).map(([kind, { what }]) => [kind, what]));
});

Deno.test("malformedMessages() are refused for the reason that they say, and never the same twice", () => {
  for (const key of QUEUE_KEYS) {
    const made = malformedMessages(key, 14, { completed: null, declined: null });
    assertEquals(new Set(made.map(({ body }) => body.toString())).size, made.length);
    for (const { reason, body } of made) {
      const parsed = parseEvent(typeof body === "string" ? new TextEncoder().encode(body) : body);
      const isBound = parsed.ok && QUEUES[key].bindings.some((type) => type === parsed.event.type);
      assertEquals(parsed.ok ? isBound ? "illegal transition" : "unexpected type" : parsed.reason, reason);
    }
    assertEquals(made.some(({ reason }) => reason === "illegal transition"), key.startsWith("orders"));
  }
});

Deno.test("balance() finds what is lost, duplicated, stuck or wrong", () => {
  const accepted = new Map<string, Course>([["a", "success"], ["b", "paymentFailure"], [
    "c",
    "enrollmentFailure",
  ]]);
  const ended: [string, OrderStatus][] = [["a", "COMPLETED"], ["b", "PAYMENT_FAILED"], ["c", "REFUNDED"]];
  const check = (
    what: string,
    found: Partial<Record<"lost" | "duplicated" | "stuck" | "wrong", number>>,
    { orders = ended, beyondOne = {}, answeredTwice = 0, unsettled = {} } = {},
  ) => {
    const { lost, duplicated, stuck, wrong } = balance(
      { accepted, answeredTwice },
      { orders: new Map(orders), beyondOne },
      unsettled,
    );
    assertEquals(
      { lost, duplicated, stuck, wrong },
      { lost: 0, duplicated: 0, stuck: 0, wrong: 0, ...found },
      what,
    );
  };
  check("nothing", {});
  check("an accepted order that is not there", { lost: 1 }, { orders: ended.slice(1) });
  check("what has not arrived", { lost: 7 }, { unsettled: { unpublished: 1, unprocessed: 2, malformed: 4 } });
  check("an order that nobody was told of", { duplicated: 1 }, { orders: [...ended, ["d", "COMPLETED"]] });
  check("an order that two were told of", { duplicated: 1 }, { answeredTwice: 1 });
  check("rows beyond one", { duplicated: 3 }, { beyondOne: { payments: 1, events: 2 } });
  check("an order without an end", { stuck: 1 }, { orders: [...ended, ["a", "PAID"]] });
  check("another end than the course's", { wrong: 1 }, { orders: [...ended, ["b", "COMPLETED"]] });
});
