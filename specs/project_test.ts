/**
 * The documents say what the code does: their tables, their diagram, their limits, and the README's curl lines.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { z } from "zod";
import { createApp } from "../api/app.ts";
import { SCENARIOS } from "../api/ops/scenario_list.ts";
import { createLiveFeed } from "../api/ops/live_feed.ts";
import { createTimelineReader } from "../shared/ops/timeline.ts";
import { createOrderPlacer } from "../api/place_orders.ts";
import { bindingsOf } from "../shared/broker/connection.ts";
import { QUEUES } from "../shared/topology.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf, VARIABLES } from "../shared/process/config.ts";
import { eventData } from "../shared/events.ts";
import { FAULT_POINTS } from "../shared/ops/faults.ts";
import { isFinal, ORDER_STATUSES, ORDER_TRANSITIONS } from "../shared/order_status.ts";
import { AUDIT_CHECKS, runAudit } from "../shared/ops/audit.ts";
import { connect, type Sql } from "../shared/sql/connect.ts";
import { DATABASE_ROLES } from "../shared/sql/migrate.ts";
import { createWakeUps } from "../shared/sql/outbox.ts";
import { outdated } from "./generate.ts";
import { codeOf as code } from "./support/markdown.ts";
import { testLog } from "./support/test_log.ts";
import { shareTestSchema, testSchema } from "./support/test_schema.ts";

shareTestSchema();

const root = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, root));
const project = read("specs/project.md");
const readme = read("README.md");
const topology = topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));

/** The rows of the table whose header starts with `first`, cell by cell. */
function table(text: string, first: string): string[][] {
  const lines = text.split("\n");
  const header = lines.findIndex((line) => line.startsWith(`| ${first} `));
  assert(header >= 0, `there is no table that starts with "${first}"`);
  const rows = lines.slice(header + 2);
  const end = rows.findIndex((line) => !line.startsWith("|"));
  return rows.slice(0, end < 0 ? rows.length : end)
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
}

function appOn(sql: Sql): ReturnType<typeof createApp> {
  const { name: first } = QUEUES.ordersPaymentEvents;
  const { name: second } = QUEUES.ordersLifecycleEvents;
  return createApp({
    placeOrder: createOrderPlacer(sql, createWakeUps(), testLog),
    ordersSql: sql,
    opsSql: sql,
    readTimelines: createTimelineReader(sql, [first, second]),
    audit: (graceSeconds) => runAudit(sql, topology, { graceSeconds }),
    bindings: bindingsOf(topology),
    retentionDays: 14,
    isSchemaReady: () => true,
    isBrokerUp: () => true,
    publisher: () => null,
    faults: topology,
    readQueues: () => Promise.resolve(null),
    live: createLiveFeed({ sql, readQueues: () => Promise.resolve(null), log: testLog }),
    bundle: "ui/dist",
    access: { token: undefined, remoteAddress: () => null },
    log: testLog,
  });
}

Deno.test("project.md's state diagram is ORDER_TRANSITIONS", () => {
  const diagram = /```mermaid\nstateDiagram-v2\n([^`]*)```/.exec(project)?.[1] ?? "";
  const wanted = [
    "[*] --> PENDING",
    ...ORDER_TRANSITIONS.map(({ from, on, to, emits }) =>
      `${from} --> ${to}: ${on}${emits ? ` / ${emits}` : ""}`
    ),
    ...ORDER_STATUSES.filter(isFinal).map((status) => `${status} --> [*]`),
  ];
  assertEquals(diagram.trim().split("\n").map((line) => line.trim()).toSorted(), wanted.toSorted());
});

Deno.test("what repeats the code is as deno task generate writes it", () => {
  assertEquals(outdated().map(({ path }) => path), [], "run: deno task generate");
});

Deno.test("project.md's modules react to what their queues are bound to, and each event has one that emits it", () => {
  const bound = Map.groupBy(Object.values(QUEUES), ({ name }) => name.split(".", 1).join());
  const rows = table(project, "module").filter(([module = ""]) => bound.has(module));
  const reacts = ([module = ""]: string[]) =>
    bound.get(module)?.flatMap(({ bindings }) => bindings).join(", ");
  assertEquals(rows.map(([, , , reactsTo]) => reactsTo), rows.map(reacts));
  const emitted = rows.flatMap(([, , emits = ""]) => emits.split(", "));
  assertEquals([...new Set(emitted)], emitted, "two modules emit the same");
  assertEquals(emitted.filter((type) => !Object.hasOwn(eventData, type)), [], "is no event");
});

Deno.test("project.md's roles are DATABASE_ROLES", () => {
  const modules = Object.values(QUEUES).map(({ name }) => `orderflow_${name.split(".", 1).join()}`);
  const [[module = ""] = [], ...others] = table(project, "role");
  assertEquals(module, "`orderflow_` and a module's name");
  const named = others.flatMap(([roles]) => code(roles));
  assertEquals(named.toSorted(), DATABASE_ROLES.filter((role) => !modules.includes(role)).toSorted());
});

Deno.test("project.md's checks of the audit are AUDIT_CHECKS, with the promises they guard", () => {
  const rows = table(project, "check").map(([check, promise]) => [check, promise]);
  assertEquals(rows, AUDIT_CHECKS.map(({ check, promise }) => [check, String(promise)]));
});

Deno.test("project.md's routes are the application's", async () => {
  const sql = connect("postgres://127.0.0.1:1/none", { name: "test", role: null, max: 1 }); // never connects
  const routes = appOn(sql).routes.filter(({ method }) => method !== "ALL").map((r) =>
    `${r.method} ${r.path}`
  );
  await sql.end();
  const rows = table(project, "method").map(([method, path]) => `${method} ${code(path).join()}`);
  assertEquals(rows.toSorted(), [...new Set(routes)].toSorted());
});

Deno.test("project.md's points of faults are FAULT_POINTS, with what they take", () => {
  const rows = table(project, "point").map(([point, what, takes]) => [code(point), what, code(takes)]);
  const wanted = Object.entries(FAULT_POINTS).map(([point, { what, perConsumer, delayMs }]) => {
    const takes = [...perConsumer ? ["consumer"] : [], ...delayMs === null ? [] : ["delayMs"]];
    return [[point], what, takes];
  });
  assertEquals(rows, wanted);
});

Deno.test("project.md's scenarios are SCENARIOS, with what to expect", () => {
  const rows = table(project, "scenario").map(([name, group, expect]) => [code(name), group, expect]);
  assertEquals(rows, SCENARIOS.map(({ name, group, expect }) => [[name], group, expect]));
});

Deno.test("project.md's limits are the constants and defaults in the code", () => {
  for (const [what, limit, where] of table(project, "what ")) {
    const [name = "", file] = code(where);
    const pattern = new RegExp(`^(?:export )?const ${name} = ([^;]+);`, "m");
    const inCode = file ? pattern.exec(read(file))?.[1] : String(defaultOf(name));
    const factors = (inCode ?? "NaN").replaceAll("_", "").split("*").map(Number);
    assertEquals(Number(limit), factors.reduce((product, factor) => product * factor, 1), `${what}: ${name}`);
  }
});

function defaultOf(name: string): unknown {
  return Object.entries(VARIABLES).find(([variable]) => variable === name)?.[1].parse(undefined);
}

Deno.test("README's variables have the defaults that it says", () => {
  for (const [names, defaults] of table(readme, "variable")) {
    const values = code(defaults);
    code(names).forEach((name, i) => {
      const has = values[i] ?? "none";
      const schema = Object.entries(VARIABLES).find(([variable]) => variable === name)?.[1];
      assert(schema, `${name} is no variable`);
      const parsed = schema.safeParse(undefined);
      assertEquals(parsed.success ? String(parsed.data ?? "none") : "none", has, name);
    });
  }
});

Deno.test("SECURITY.md names a test for each threat that something stands against", () => {
  const rows = table(read(".github/SECURITY.md"), "threat");
  assert(rows.length > 0);
  for (const [threat, , , tests] of rows) {
    assert(
      code(tests).some((path) => path.endsWith("_test.ts")),
      `no test shows what stands against: ${threat}`,
    );
  }
});

/** The curl lines of a document; `$API` and the other variables are still in them. */
function curlLines(
  text: string,
): { method: string; path: string; headers: [string, string][]; body: string | undefined; line: string }[] {
  return [...text.matchAll(/^curl .*$/gm)].map(([line]) => ({
    line,
    method: / -X (\w+) /.exec(line)?.[1] ?? (line.includes(" -d ") ? "POST" : "GET"),
    path: /\$API([^\s"]*)/.exec(line)?.[1] ?? "",
    headers: [...line.matchAll(/ -H '([^':]+): ([^']+)'/g)].map(([, name = "", value = ""]) => [name, value]),
    body: / -d '([^']*)'/.exec(line)?.[1],
  }));
}

Deno.test("README's curl lines work in the order in which they stand there", async () => {
  await using db = await testSchema();
  const app = appOn(db.sql);
  const known: Record<string, string> = {};
  const answers = new Map<string, unknown>();
  for (const { line, method, path, headers, body } of curlLines(readme)) {
    const target = path.replaceAll(/\$(\w+)/g, (_, name) => known[name] ?? `$${name}`);
    const response = await app.request(target, { method, headers, ...(body ? { body } : {}) });
    const isMistake = body?.includes('"me"') ?? false;
    const isJson = response.headers.get("content-type")?.includes("json");
    const answer: unknown = isJson ? await response.json() : await response.text();
    assert(
      isMistake ? response.status === 400 : response.ok,
      `${line}: ${response.status} ${JSON.stringify(answer)}`,
    );
    if (line.includes("idempotency-key")) {
      assertEquals(response.headers.has("idempotency-replayed"), answers.has(line), line);
      assertEquals(answer, answers.get(line) ?? answer, line);
      answers.set(line, answer);
    }
    if (path === "/orders" && response.status === 201) {
      known.ID = z.object({ id: z.string() }).parse(answer).id;
    }
    if (path.startsWith("/ops/outbox?")) {
      known.EVENT = z.object({ events: z.array(z.object({ id: z.string() })) }).parse(answer).events[0]?.id ??
        "";
    }
  }
});
