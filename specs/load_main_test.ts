import { assertEquals, assertStringIncludes } from "@std/assert";
import { loadReportSchema } from "./bench/load_report.ts";
import { runTask } from "./support/run_task.ts";

Deno.test("deno task load ends with 0 when all orders were created, and prints one JSON value", async () => {
  let orders = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    await request.body?.cancel();
    orders++;
    return Response.json({ id: crypto.randomUUID() }, { status: 201 });
  });
  const flags = ["--no-wait", "--orders=20", "--connections=2", `--url=http://127.0.0.1:${server.addr.port}`];
  const machine = await runTask("load", [...flags, "--json"]);
  assertEquals([machine.code, machine.err, orders], [0, "", 20]);
  const report = loadReportSchema.parse(JSON.parse(machine.out));
  assertEquals([report.orders, report.end], [20, null]);
  const human = await runTask("load", flags);
  assertEquals([human.code, human.err], [0, ""]);
  assertStringIncludes(human.out, "20 orders over 2 connections: ");
  await server.shutdown();
});

Deno.test("deno task load ends with 1 where the API is away, and with 64 for a wrong usage", async () => {
  const away = await runTask("load", ["--no-wait", "--json", "--url=http://127.0.0.1:1"]);
  assertEquals([away.code, away.out], [1, ""]);
  assertStringIncludes(away.err, "127.0.0.1:1");
  const wrong = await runTask("load", ["--orders=none"]);
  assertEquals([wrong.code, wrong.out], [64, ""]);
  assertStringIncludes(wrong.err, '--orders must be a whole number from 1 to 1000000, not "none"');
});
