import { assertEquals } from "@std/assert";
import { isReached } from "./bench.ts";
import { idleRow } from "./idle_part.ts";

const processes = new Map([["api", 0.004], ["outbox-relay", 0.01], ["a", 0], ["broker", 0.006]]);

Deno.test("the idle share is the sum over all processes, in percent, and says who uses the most", () => {
  const row = idleRow(processes, new Map([["session 1", 0.001], ["session 2", 0.002]]), true);
  assertEquals(row.ours.toFixed(3), "2.000");
  assertEquals(
    row.note,
    "most: outbox-relay 1.00 %, broker 0.60 %, api 0.40 %; with the embedded broker; " +
      "Postgres is not counted: its sessions took 0.30 %",
  );
  assertEquals(isReached(row), true);
});

Deno.test("more than three percent of a core is too much", () => {
  const row = idleRow(new Map([...processes, ["b", 0.0101]]), new Map(), false);
  assertEquals(isReached(row), false);
  assertEquals(row.note?.endsWith("without RabbitMQ; Postgres is not counted"), true);
});
