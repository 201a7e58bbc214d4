// No process writes a password or a token anywhere, whatever goes wrong with it.

import { assert, assertEquals, assertMatch } from "@std/assert";
import pLimit from "p-limit";
import { freePort } from "../workers/dev/services.ts";
import { shareTestSchema, testSchema } from "./support/test_schema.ts";
import { type Run, runUnderSet } from "./support/run_task.ts";

shareTestSchema();

const DATABASE_PASSWORD = "database-passw%rd/of:the@test";
const BROKER_PASSWORD = "broker-passw%rd/of:the@test";
const OPS_TOKEN = "ops-token-of-the-test";
const SECRETS = [DATABASE_PASSWORD, BROKER_PASSWORD, OPS_TOKEN].flatMap((secret) => [
  secret,
  encodeURIComponent(secret),
  btoa(secret),
  secret.slice(0, 12), // a part of one is too much as well
]);

const escaped = encodeURIComponent(DATABASE_PASSWORD);
/** Nobody listens on port 1. */
const NO_DATABASE = `postgres://someone:${escaped}@127.0.0.1:1/orders`;
const NO_BROKER = `amqp://someone:${encodeURIComponent(BROKER_PASSWORD)}@127.0.0.1:1`;

const worker = (set: string, script: string) => ({ set, entry: `workers/${script}.ts` });
const API = { set: "api", entry: "api/main.ts" };
const RELAY = worker("relay", "outbox_relay");
const MIGRATE = worker("migrate", "tools/migrate");
const AUDIT = worker("audit", "tools/audit");

Deno.test("no process writes a password or a token, whatever goes wrong", async () => {
  await using db = await testSchema();
  const port = String(freePort("127.0.0.1"));
  const base = { AMQP_URL: NO_BROKER, OPS_TOKEN, PORT: port };
  const database = new URL(db.url);
  database.username = "nobody_of_this_name"; // refused even where the server trusts its own users
  database.password = escaped;
  const wrongPassword = { ...base, DATABASE_URL: database.href };
  const away = { ...base, DATABASE_URL: NO_DATABASE };
  const malformed = {
    DATABASE_URL: `postgres//someone:${escaped}@127.0.0.1`,
    AMQP_URL: `amqps//someone:${BROKER_PASSWORD}@127.0.0.1`,
    OPS_TOKEN: OPS_TOKEN.slice(0, 15),
  };
  // A lone percent sign is taken by URLs, and by nobody who decodes them.
  const undecodable = {
    ...base,
    DATABASE_URL: `postgres://someone:${DATABASE_PASSWORD.split("/")[0]}@127.0.0.1:1/x`,
  };
  const runs: Run[] = [
    ...[API, RELAY, worker("payments", "payments_order_created")].flatMap((process): Run[] => [
      { ...process, env: { ...away, LOG_FORMAT: "pretty", PORT: "0" }, until: /ECONNREFUSED/ },
      { ...process, env: { ...base, DATABASE_URL: db.url, PORT: "0" }, until: /The broker cannot be used/ },
      { ...process, env: malformed },
    ]),
    { ...API, env: undecodable },
    { ...RELAY, env: wrongPassword, until: /The database cannot be used/ },
    ...[MIGRATE, AUDIT].flatMap((task) => [wrongPassword, away].map((env): Run => ({ ...task, env }))),
    { ...AUDIT, env: undecodable },
    {
      ...worker("ops", "tools/replay"),
      env: base,
      args: ["--type=order.created", "--dry-run", "--url=http://127.0.0.1:1"],
    },
    {
      ...API,
      env: { ...away, LOG_FORMAT: "pretty" },
      until: /Listening/,
      then: () => askWithSecrets(`http://127.0.0.1:${port}`),
    },
  ];
  const results = await pLimit(4).map(runs, async (run) => ({ run, ...await runUnderSet(run) }));
  for (const { run, code, output } of results) {
    const about = `${run.entry} (${Object.keys(run.env)}): ${code} ${output}`;
    assert(output.length > 0, `nothing was written, so nothing is shown: ${about}`);
    for (const secret of SECRETS) assert(!output.includes(secret), about);
    if (run.env === malformed) {
      assertEquals(code, 78, about);
      assertMatch(output, /_URL must be a URL such as/, about);
    } else if (!run.until) assert(code !== 0, about);
  }
});

/** Requests that carry the token, rightly and wrongly, and fail. */
async function askWithSecrets(url: string): Promise<void> {
  const form = { "content-type": "application/x-www-form-urlencoded" };
  const login = (token: string) =>
    ({ method: "POST", headers: form, body: `token=${token}`, redirect: "manual" }) as const;
  const requests: [path: string, init: RequestInit][] = [
    ...[OPS_TOKEN, `${OPS_TOKEN}x`].flatMap((token): [string, RequestInit][] => [
      ["/ops/outbox", { headers: { authorization: `Bearer ${token}` } }],
      ["/login", login(token)],
    ]),
    ["/ops/outbox", { headers: { cookie: `orderflow_ops=${OPS_TOKEN}` } }],
    ["/", { headers: { authorization: `Bearer ${OPS_TOKEN}` } }],
  ];
  for (const [path, init] of requests) {
    const response = await fetch(`${url}${path}`, init);
    assert(!(await response.text()).includes(OPS_TOKEN), `${path} answers with the token`);
  }
}
