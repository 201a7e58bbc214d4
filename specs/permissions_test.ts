// The permission sets of deno.json: a step beyond is refused, and no entry is there that its processes do not use.

import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { z } from "zod";
import { testBroker } from "./support/test_broker.ts";
import { shareTestSchema, testSchema } from "./support/test_schema.ts";
import { denoArguments } from "../workers/dev/child.ts";
import { freePort } from "../workers/dev/services.ts";
import {
  BROKER,
  BROKER_PASSWORD_VARIABLE,
  BROKER_PORT_VARIABLE,
  PROCESSES,
} from "../workers/dev/processes.ts";
import { type Run, runDeno, runUnderSet } from "./support/run_task.ts";

shareTestSchema();

const TRY = "specs/testdata/try_permissions.ts";
const ROOT = join(import.meta.dirname ?? "", "..");
const TASKS = ["migrate", "audit", "ops", "load"];
const SETS = [...new Set([BROKER, ...PROCESSES].map(({ permissions }) => permissions)), ...TASKS];
/** Those whose processes need the token. */
const KNOW_THE_TOKEN = ["api", "ops"];

const names = z.array(z.string()).default([]);
const setSchema = z.strictObject({
  import: z.tuple([z.literal("none.invalid")]), // a list of its own: an empty one would be Deno's, of six hosts
  read: names,
  net: names,
  env: z.union([
    names.transform((allow) => ({ allow, ignore: [] })),
    z.strictObject({ allow: names, ignore: names }),
  ]),
});
const { permissions } = z.object({ permissions: z.record(z.string(), z.unknown()) })
  .parse(JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.json"))));
const setOf = (name: string) => setSchema.parse(permissions[name]);

for (const set of SETS) {
  Deno.test(`permission set "${set}" keeps files, programs, others' variables, hosts and code out`, async () => {
    const others = KNOW_THE_TOKEN.includes(set) ? [] : ["OPS_TOKEN"];
    assertEquals(await runUnder(set, "everything", ...others), "[]\n");
  });
}

Deno.test("a permission set makes a variable that it does not list an error, not a silent default", async () => {
  const variable = "PAYMENT_PROVIDER_LATENCY_MS";
  assertStringIncludes(
    await runUnder("consumer", "variable", variable),
    `Requires env access to "${variable}"`,
  );
  assertEquals(await runUnder("payments", "variable", variable), "unset\n");
  // Postgres's own are hidden: the URL alone says where to connect.
  assertEquals(await runUnder("consumer", "variable", "PGPASSWORD"), "unset\n");
});

Deno.test("under the supervisor a process reaches the addresses that it was told, and no other port of this machine", async () => {
  for (const spec of [BROKER, ...PROCESSES]) {
    const args = denoArguments({ ...spec, entry: TRY }, ["127.0.0.1:1", "127.0.0.1:3"]);
    assertEquals((await runDeno([...args, "addresses", "1", "2", "3"])).out, '["1","3"]\n', spec.name);
  }
});

/** Tries something under a permission set of deno.json; answers with all that was printed. */
async function runUnder(set: string, ...args: string[]): Promise<string> {
  return (await runUnderSet({ set, entry: TRY, args, env: { PGPASSWORD: "sesame" } })).output;
}

/** One thing that a process asked for, as Deno's own audit log has it. */
const askedSchema = z.object({ permission: z.string(), value: z.string().nullish() });
type Asked = z.infer<typeof askedSchema>;

/** Runs a process under its set, an API with its page asked for; answers with all that it asked for. */
async function askedBy(run: Run): Promise<Asked[]> {
  const log = await Deno.makeTempFile({ prefix: "orderflow_permissions_" });
  const { PORT } = run.env;
  const then = async () => void await (PORT && (await fetch(`http://127.0.0.1:${PORT}`)).body?.cancel());
  await runUnderSet({ ...run, env: { ...run.env, DENO_AUDIT_PERMISSIONS: log }, then });
  const lines = (await Deno.readTextFile(log)).trim().split("\n");
  await Deno.remove(log);
  return lines.map((line) => askedSchema.parse(JSON.parse(line)));
}

Deno.test("every entry of a permission set is used by a process that has it, and a process asks for nothing else", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  const database = new URL(db.url);
  database.hostname = "localhost"; // both names of this machine are in the sets
  const base = { DATABASE_URL: database.href, AMQP_URL: broker.url, ...broker.env };
  const port = () => `${freePort("127.0.0.1")}`;
  const replay = (host: string) => ["--type=order.created", "--dry-run", `--url=http://${host}:${port()}`];
  const listening = { [BROKER_PORT_VARIABLE]: port(), [BROKER_PASSWORD_VARIABLE]: "made up" };
  const runs: Run[] = [
    { set: "api", entry: "api/main.ts", env: { ...base, PORT: port() }, until: /Connected/ },
    { set: "relay", entry: "workers/outbox_relay.ts", env: base, until: /Publishing/ },
    { set: "consumer", entry: "workers/orders_payment_events.ts", env: base, until: /Subscribed/ },
    { set: "payments", entry: "workers/payments_order_created.ts", env: base, until: /Subscribed/ },
    ...["migrate", "audit"].flatMap((set): Run[] =>
      [database.href, db.url].map((url) => ({
        set,
        entry: `workers/tools/${set}.ts`,
        env: { ...base, DATABASE_URL: url },
      }))
    ),
    ...["127.0.0.1", "localhost"].map((host): Run => (
      { set: "ops", entry: "workers/tools/replay.ts", args: replay(host), env: {} }
    )),
    { set: "broker", entry: BROKER.entry, env: listening, until: /Listening/ },
  ];
  const asked = new Map<string, Asked[]>();
  for (const run of runs) asked.set(run.set, [...asked.get(run.set) ?? [], ...await askedBy(run)]);
  for (const [set, all] of asked) checkUse(set, all);
});

/** Where docker-compose.yml has the services, and has the processes listen: used there. */
const IN_CONTAINERS = /^(postgres:5432|rabbitmq(-[23])?:5672|0\.0\.0\.0(:9464)?)$/;

function checkUse(set: string, asked: readonly Asked[]): void {
  const { read, net, env } = setOf(set);
  const values = (kind: string) => [
    ...new Set(asked.flatMap(({ permission, value }) => permission === kind ? [value ?? ""] : [])),
  ];
  const entries = [...env.allow, ...env.ignore];
  const covers = (entry: string, name: string) =>
    entry.endsWith("*") ? name.startsWith(entry.slice(0, -1)) : entry === name;
  const unlisted = values("env").filter((name) => !entries.some((entry) => covers(entry, name)));
  const isUsed: Readonly<Record<string, (entry: string) => boolean>> = {
    // A wildcard stands for two at least.
    env: (entry) => values("env").filter((name) => covers(entry, name)).length > Number(entry.endsWith("*")),
    net: (entry) =>
      IN_CONTAINERS.test(entry) || values("net").some((address) => address.startsWith(`${entry}:`)),
    read: (folder) => values("read").some((path) => path.includes(folder.replace(/^\.\//, ""))),
  };
  const listed = Object.entries({ env: entries, net, read });
  const unused = listed.flatMap(([kind, of]) => of.filter((entry) => !isUsed[kind]?.(entry)));
  const others = asked.filter(({ permission }) => !Object.hasOwn(isUsed, permission));
  assertEquals({ unused, unlisted, others }, { unused: [], unlisted: [], others: [] }, set);
}
