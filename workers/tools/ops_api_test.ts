import { assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { insertHistory } from "../../specs/support/test_events.ts";
import { runTask } from "../../specs/support/run_task.ts";
import { migrate } from "../../shared/sql/migrate.ts";
import { shareTestSchema, testDatabase, testSchema } from "../../specs/support/test_schema.ts";
import { writeEnvFile } from "../dev/services.ts";
import { fetchDirectly, shellWord } from "./ops_api.ts";
import { figures, systemStatus } from "./testdata/statuses.ts";

shareTestSchema();

const root = fileURLToPath(new URL("../..", import.meta.url));
const TOKEN = "a-token-of-enough-characters";

/** An API that tells nothing but a state whose version is `name`; `tokens` are those that it was sent. */
function fakeApi(name: string) {
  const tokens: (string | null)[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    tokens.push(request.headers.get("authorization"));
    return Response.json({ ...systemStatus(figures({ deadLetters: { somebody: 1 } })), version: name });
  });
  return { port: server.addr.port, tokens, [Symbol.asyncDispose]: () => server.shutdown() };
}

/** A task as people run it, with the files of variables. Answers with the JSON that it printed. */
async function told(task: string, env: Record<string, string>) {
  const { DATABASE_URL: _database, AMQP_URL: _broker, ...own } = Deno.env.toObject(); // those given to the tests
  const options = { cwd: root, clearEnv: true, env: { ...own, NO_COLOR: "1", ...env } };
  const args = ["task", "-q", task, "--json"];
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, ...options, stdin: "null" })
    .output();
  const [text = "", error] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  if (!text) throw new Error(error);
  return z.object({ version: z.string(), orders: z.int(), attention: z.array(z.string()) }).partial()
    .parse(JSON.parse(text));
}

/** A folder as `deno task dev` has it while its system runs, whose name a shell must be told in quotes. */
async function runningHome(variables: Record<string, string>) {
  const folder = await Deno.makeTempDir({ prefix: "orderflow home " });
  await writeEnvFile(`${folder}/env`, variables);
  return { folder, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

Deno.test("each task finds the system of its ORDERFLOW_HOME, or what the environment names", async () => {
  await using first = fakeApi("first");
  await using second = fakeApi("second");
  await using one = await testSchema();
  await using two = await testDatabase();
  await migrate(two.url, { roles: true });
  await insertHistory(one.sql, "COMPLETED");
  const at = ({ port }: typeof first, url: string) => ({
    ORDERFLOW_API_URL: `http://127.0.0.1:${port}`,
    DATABASE_URL: url,
  });
  await using h1 = await runningHome({ ...at(first, one.url), OPS_TOKEN: TOKEN });
  await using h2 = await runningHome(at(second, two.url));
  for (const [{ folder }, version, orders] of [[h1, "first", 1], [h2, "second", 0]] as const) {
    const status = await told("status", { ORDERFLOW_HOME: folder });
    assertEquals(status.version, version);
    const advice = status.attention?.find((line) => line.includes("1 dead letter")) ?? "";
    assertStringIncludes(
      advice,
      `ORDERFLOW_HOME='${folder}' deno task redrive --consumer=somebody --dry-run`,
    );
    assertEquals((await told("audit", { ORDERFLOW_HOME: folder })).orders, orders);
  }
  assertEquals([first.tokens, second.tokens], [[`Bearer ${TOKEN}`], [null]]);
  // What somebody says in the environment goes before what is written down.
  const given = { ORDERFLOW_HOME: h1.folder, ORDERFLOW_API_URL: `http://127.0.0.1:${second.port}` };
  assertEquals((await told("status", given)).version, "second");
  // Where no system is written down, it is the one at PORT.
  await using nobody = await runningHome({});
  const alone = { ORDERFLOW_HOME: nobody.folder, PORT: `${first.port}` };
  assertEquals((await told("status", alone)).version, "first");
});

Deno.test("a task never asks this machine through the proxy of HTTP_PROXY: the token is nobody else's", async () => {
  await using api = fakeApi("direct");
  let proxied = 0;
  const proxy = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    return Response.json(proxied++);
  });
  const at = `http://127.0.0.1:${proxy.addr.port}`;
  const env = { OPS_TOKEN: TOKEN, HTTP_PROXY: at, http_proxy: at, ALL_PROXY: at, DENO_NO_UPDATE_CHECK: "1" };
  for (const host of ["127.0.0.1", "localhost"]) {
    const { out, err } = await runTask("status", ["--json", `--url=http://${host}:${api.port}`], { env });
    assertStringIncludes(out, '"version":"direct"', err);
  }
  await proxy.shutdown();
  assertEquals([proxied, api.tokens], [0, [`Bearer ${TOKEN}`, `Bearer ${TOKEN}`]]);
});

Deno.test("fetchDirectly() reaches this machine over IPv6 as well", async () => {
  const server = Deno.serve({ hostname: "::1", port: 0, onListen: () => {} }, () => new Response("direct"));
  assertEquals((await fetchDirectly(`http://[::1]:${server.addr.port}/`, {})).text, "direct");
  await server.shutdown();
});

Deno.test("shellWord() leaves a plain word as it is, and puts any other in quotes", () => {
  assertEquals(["/tmp/h2", "a b", "it's"].map(shellWord), ["/tmp/h2", "'a b'", `'it'\\''s'`]);
});
