import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { eventually } from "../specs/support/eventually.ts";
import { runTask, taskCommand } from "../specs/support/run_task.ts";
import { shareTestSchema } from "../specs/support/test_schema.ts";
import { startStack } from "../specs/support/test_stack.ts";
import { VERSION } from "../shared/version.ts";
import { readOutput } from "../specs/support/read_output.ts";

shareTestSchema();

const token = "a-token-of-enough-characters";
const env = { OPS_TOKEN: token };
const toldSchema = z.object({
  database: z.string(),
  attention: z.array(z.string()),
  figures: z.object({
    processes: z.array(z.object({ name: z.string(), version: z.string(), pid: z.int() })),
  }),
});

Deno.test("deno task status ends with 0 while all runs, with 2 and the reason when something is killed, stopped or put aside", async () => {
  await using stack = await startStack(env);
  const url = `--url=${stack.url}`;
  const told = async () => {
    const { code, out, err } = await runTask("status", ["--json", url], { env });
    return { code, err, ...toldSchema.parse(JSON.parse(out)) };
  };
  const well = await eventually("all processes", async () => {
    const status = await told();
    return status.code === 0 && status;
  }, 30_000);
  assertEquals([well.err, well.database, well.attention], ["", "up", []]);
  const { processes } = well.figures;
  assertEquals(new Map(processes.map(({ name, pid }) => [name, pid])), stack.pids());
  assertEquals([...new Set(processes.map(({ version }) => version))], [VERSION]);
  const shown = await runTask("status", [url], { env });
  assertEquals([shown.code, shown.err], [0, ""]);
  for (const line of shown.out.split("\n")) assert(!line.includes("\x1b"), line);
  const line = shown.out.split("\n").find((line) => line.startsWith("outbox-relay ")) ?? "";
  assert(line.includes(` ${VERSION} `) && / [0-9]+ s +none/.test(line), shown.out);
  assertStringIncludes(shown.out, "\nEverything is in order.\n");

  const relayPid = stack.pids().get("outbox-relay");
  await stack.kill("outbox-relay");
  await stack.db.sql`
    update heartbeats set started_at = started_at - interval '1 minute', seen_at = seen_at - interval '1 minute'
    where process = 'outbox-relay'`; // as a minute later
  await stack.stop("payments-order-created");
  await stack.db.sql`
    insert into dead_letters (id, consumer, body, reason, detail, attempts, first_failed_at, last_failed_at)
    values (gen_random_uuid(), 'somebody', 'x', 'invalid', 'x', 1, now(), now())`;
  const { paymentsOrderCreated } = stack.broker.topology.queues;
  const wanted = [
    `outbox-relay (process ${relayPid} on 127.0.0.1) has been silent for 1 min`,
    "no payments-order-created runs: start one with deno task worker:payments-order-created",
    `nobody consumes ${paymentsOrderCreated.name}, where 0 messages wait`,
    "1 dead letter of somebody: look at them with deno task redrive --consumer=somebody --dry-run",
  ];
  const ill = await eventually("what needs attention", async () => {
    const status = await told();
    return status.attention.length === wanted.length && status;
  });
  assertEquals(ill.code, 2);
  ill.attention.forEach((trouble, i) => assertStringIncludes(trouble, wanted[i] ?? ""));
  const { code, out } = await runTask("status", [url], { env });
  assertEquals(code, 2);
  assertStringIncludes(out, "\nNeeds attention:\n  outbox-relay (process ");

  const refused = await runTask("status", ["--json", url]);
  assertEquals([refused.code, refused.out], [1, ""]);
  assertStringIncludes(refused.err, "OPS_TOKEN");
});

Deno.test("deno task status --watch prints the state again, outlives the API, and ends with 0 on Ctrl-C", async () => {
  let requests = 0;
  const figures = null;
  const status = { at: new Date().toISOString(), version: "1.2.3", database: "down", broker: "up", figures };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    requests++;
    return Response.json(status);
  });
  const child = taskCommand("status", ["--watch", `--url=http://127.0.0.1:${server.addr.port}`]).spawn();
  const output = readOutput(child.stdout);
  await eventually("two looks", () => requests >= 2);
  await server.shutdown();
  await eventually(
    "a look at nothing",
    () => output.text().includes("Cannot reach the API at http://127.0.0.1:"),
  );
  child.kill("SIGINT");
  assertEquals((await child.status).code, 0);
  await output.ended;
  await child.stderr.cancel();
  const printed = output.text();
  const looks = printed.split("\n\n");
  assert(looks.filter((look) => look.startsWith("OrderFlow 1.2.3 at ")).length >= 2, printed);
  assertStringIncludes(printed, "  the database cannot be reached");
});

Deno.test("deno task status ends with 1 where the API is away, with 64 for a wrong usage, with 78 for a wrong token", async () => {
  const away = await runTask("status", ["--url=http://127.0.0.1:1"]);
  assertEquals([away.code, away.out], [1, ""]);
  assertStringIncludes(away.err, "Cannot reach the API at http://127.0.0.1:1: ");
  assertStringIncludes(away.err, "Start it with deno task dev");
  const elsewhere = await runTask("status", ["--url=http://192.0.2.1:8000"]);
  assertEquals([elsewhere.code, elsewhere.out], [1, ""]);
  assertStringIncludes(elsewhere.err, 'see "ops" in deno.json');
  const both = await runTask("status", ["--watch", "--json"]);
  assertEquals([both.code, both.out], [64, ""]);
  assertStringIncludes(both.err, "--json prints one object: leave --watch away");
  const short = await runTask("status", [], { env: { OPS_TOKEN: "short" } });
  assertEquals([short.code, short.out], [78, ""]);
});
