import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { runTask } from "../support/run_task.ts";
import { testBroker } from "../support/test_broker.ts";
import { shareTestSchema, testSchema } from "../support/test_schema.ts";

shareTestSchema();

const rowsSchema = z.array(z.object({ what: z.string(), unit: z.string(), ours: z.number() }));

Deno.test("deno task bench measures the part that it is told, and prints one JSON value", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  const env = { DATABASE_URL: db.url, AMQP_URL: broker.url };
  const { code, out, err } = await runTask("bench", ["--tiny", "--json", "accept"], { env });
  assertEquals(code, 0, err);
  const rows = rowsSchema.parse(JSON.parse(out));
  assert(rows.length > 0 && rows.every(({ what }) => what.startsWith("accept, ")), out);
  assertStringIncludes(err, "accept: 16 connections: warming up");
});

Deno.test("deno task bench ends with 64 for a part or a flag that there is not", async () => {
  const part = await runTask("bench", ["accept", "speed"]);
  assertEquals([part.code, part.out], [64, ""]);
  assertStringIncludes(part.err, '"speed" is no part: accept, relay, ');
  const runs = await runTask("bench", ["--runs=0"]);
  assertEquals([runs.code, runs.out], [64, ""]);
  assertStringIncludes(runs.err, "--runs must be a whole number from 1 to 100");
});
