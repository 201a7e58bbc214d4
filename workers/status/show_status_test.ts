import { assert, assertEquals } from "@std/assert";
import { statusLines } from "./show_status.ts";
import { figures, liveProcess, systemStatus } from "./testdata/statuses.ts";

const view = { url: "http://127.0.0.1:8000", columns: Infinity, isColoured: false };

Deno.test("statusLines() is this, for a system at rest", () => {
  assertEquals(statusLines(systemStatus(figures()), [], view), [
    "OrderFlow 1.2.3 at http://127.0.0.1:8000, 2026-11-22T12:00:00.000Z",
    "database up   broker up",
    "",
    "PROCESS                 INSTANCE  HOST       PID  VERSION   UP  LAST BEAT  LAST BATCH  COUNTS",
    "outbox-relay            0190f3c1  127.0.0.1    7  1.2.3    1 h        2 s        none",
    "payments-order-created  0190f3c1  127.0.0.1    7  1.2.3    1 h        2 s   1 min 5 s  processed 250, batches 4",
    "",
    "QUEUE                      MESSAGES  CONSUMERS  RETRIES  DEAD LETTERS",
    "payments.order-created.v1         0          1        0             0",
    "",
    "outbox    0 waiting",
    "orders    none yet",
    "replay    none under way",
    "faults    off",
    "",
    "Everything is in order.",
  ]);
});

Deno.test("statusLines() shows who is gone, what waits, what is sent again and what is armed", () => {
  const busy = figures({
    processes: [liveProcess({ isStale: true })],
    outbox: { pending: 3, oldestSeconds: 61.5 },
    queues: null,
    retries: { "payments.order-created.v1": 2 },
    deadLetters: { "orders.payment-events.v1": 1 },
    orders: { PENDING: 2, COMPLETED: 998 },
    latency: { p50: 24.4, p99: 81 },
    rates: { orders: 12.34, events: 0, processed: 0 },
    replays: [{ id: "r1", total: 5, sent: 1, lastError: "no route" }],
    faults: [{ point: "provider.slow", consumer: "payments.order-created.v1", times: 2 }],
  });
  const lines = statusLines({ ...systemStatus(busy), broker: "down" }, ["first", "second"], view);
  assertEquals(lines.slice(1), [
    "database up   broker down",
    "",
    "PROCESS       INSTANCE  HOST       PID  VERSION    UP  LAST BEAT  LAST BATCH  COUNTS",
    "outbox-relay  0190f3c1  127.0.0.1    7  1.2.3    gone        2 s        none",
    "",
    "QUEUE                      MESSAGES  CONSUMERS  RETRIES  DEAD LETTERS",
    "payments.order-created.v1         ?          ?        2             0",
    "orders.payment-events.v1          ?          ?        0             1",
    "",
    "outbox    3 waiting, the oldest for 1 min 1 s",
    "orders    of the newest 1000: COMPLETED 998, PENDING 2; 12.3/s come in",
    "latency   half of them ended within 24 ms, 99 % within 81 ms",
    "replay    r1: 1 of 5 messages sent, no route",
    "faults    2 x provider.slow at payments.order-created.v1",
    "",
    "Needs attention:",
    "  first",
    "  second",
  ]);
  const away = statusLines({ ...systemStatus(null), database: "down" }, ["gone"], view);
  assertEquals(away.slice(1), ["database down   broker up", "", "Needs attention:", "  gone"]);
});

Deno.test("statusLines() fits a narrow terminal: columns go first, then what is left is cut", () => {
  const armed = Array.from(
    { length: 9 },
    () => ({ point: "provider.slow", consumer: null, times: 1 } as const),
  );
  const status = systemStatus(figures({ faults: armed }));
  for (const columns of [120, 100, 80, 60, 40, 10]) {
    for (const line of statusLines(status, [], { ...view, columns }).slice(0, -1)) {
      assert(line.length <= Math.max(columns, "database up   broker up".length), `${columns}: ${line}`);
    }
  }
  const [, , , heads, , row] = statusLines(status, [], { ...view, columns: 80 });
  assertEquals(heads, "PROCESS                 PID   UP  LAST BEAT  LAST BATCH  COUNTS");
  assertEquals(row, "payments-order-created    7  1 h        2 s   1 min 5 s  processed 250, batches…");
});

Deno.test("statusLines() uses colours only where it may: red for what needs attention", () => {
  const status = systemStatus(figures({ processes: [liveProcess({ isStale: true })] }));
  const plain = statusLines(status, ["trouble"], view);
  const coloured = statusLines(status, ["trouble"], { ...view, isColoured: true });
  // deno-lint-ignore no-control-regex -- the escape character is what colours start with
  assertEquals(coloured.map((line) => line.replaceAll(/\x1b\[\d+m/g, "")), plain);
  assert(plain.every((line) => !line.includes("\x1b")));
  assertEquals(coloured.filter((line) => line.startsWith("\x1b[31m")), [
    `\x1b[31m${plain[4]}\x1b[0m`,
    "\x1b[31mNeeds attention:\x1b[0m",
    "\x1b[31m  trouble\x1b[0m",
  ]);
});
