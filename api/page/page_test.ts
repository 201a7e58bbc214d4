import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { connect, transaction } from "../../shared/sql/connect.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { insertHistory } from "../../specs/support/test_events.ts";
import { testApp, testBundle } from "../../specs/support/test_app.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { createLiveFeed } from "../ops/live.ts";

shareTestSchema();

Deno.test("GET / is the page with orders and the chosen one's story", async () => {
  await using db = await testSchema();
  await using bundle = await testBundle();
  await insertHistory(db.sql, "COMPLETED");
  const [row] = await db.sql<{ id: string }[]>`select id from orders`;
  const { ask, call, deps } = testApp(db, { bundle: bundle.folder });
  const page: string = await call(`GET /?order=${row?.id}`);
  assertStringIncludes(page, 'src="/assets/island-XOCXUP7F.js"');
  assertStringIncludes(page, 'href="/assets/plain.css"');
  const state = JSON.parse(
    /<script type="application\/json" id="state">(.*?)<\/script>/.exec(page)?.[1] ?? "",
  );
  assertEquals(state.story.order.id, row?.id);
  assertEquals(state.story.timeline.at(-1).kind !== undefined, true);
  assertEquals(state.orders.orders.map(({ id }: { id: string }) => id), [row?.id]);
  assertEquals(state.pulse.orders.length, 1);
  assert(!page.includes(" style="), "the policy lets no inline style through");
  const other = await ask(`GET /?order=${crypto.randomUUID()}`);
  assertEquals(other.status, 200, "an order that is not there leaves the page standing");
  await deps.live.close();
});

Deno.test("GET / says in words what is missing: the bundle, or the database, and then asks again by itself", async () => {
  await using db = await testSchema();
  await using bundle = await testBundle();
  const away = connect("postgres://127.0.0.1:1/none", { name: "test", role: null, max: 1 });
  const readQueues = () => Promise.resolve(null);
  const cases = [
    [testApp(db), "deno task ui:bundle"],
    [testApp(db, { bundle: bundle.folder, isSchemaReady: () => false }), "database cannot be reached"],
    [
      testApp(db, {
        bundle: bundle.folder,
        opsSql: away,
        live: createLiveFeed({ sql: away, readQueues, log: testLog }),
      }),
      "database cannot be reached",
    ],
  ] as const;
  for (const [{ ask }, words] of cases) {
    const { status, body: page } = await ask("GET /");
    assertEquals(status, 503);
    assertStringIncludes(page, words);
    assertMatch(page, /<meta http-equiv="refresh" content="\d+">/);
  }
  await away.end({ timeout: 1 });
  const docs = await testApp(db).ask("GET /docs");
  assertEquals(docs.status, 503);
  assertStringIncludes(docs.body.detail, "deno task ui:bundle");
});

Deno.test("GET / tells a database that takes its time from one that is away", async () => {
  await using db = await testSchema();
  await using bundle = await testBundle();
  const { ask } = testApp(db, { bundle: bundle.folder });
  assertEquals((await ask("GET /")).status, 200);
  const hold = Promise.withResolvers<void>();
  const held = transaction(db.sql, async (tx) => {
    await tx`lock table orders in access exclusive mode`;
    await hold.promise;
  });
  await eventually("orders to be locked", async () => {
    const { count } = await db
      .sql`select from pg_locks where relation = 'orders'::regclass and mode = 'AccessExclusiveLock'`;
    return count > 0;
  });
  const { status, headers, body } = await ask("GET /");
  hold.resolve();
  await held;
  assertEquals([status, headers.get("retry-after")], [503, "3"]);
  assertStringIncludes(body, "<h1>The database does not answer in time</h1>");
  await eventually("the page to be back", async () => (await ask("GET /")).status === 200);
});

Deno.test("GET / is for those who may use /ops; a link on another site leads there all the same", async () => {
  await using db = await testSchema();
  const foreign = testApp(db, { access: { token: undefined, remoteAddress: () => "192.0.2.1" } });
  assertEquals((await foreign.ask("GET /")).status, 403);
  const { ask } = testApp(db);
  const get = (headers: Record<string, string>) =>
    ask("GET /", undefined, { "sec-fetch-site": "cross-site", ...headers });
  assertEquals((await get({})).status, 403);
  const link = { "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
  const again = await get(link);
  assertEquals(again.status, 200);
  assertStringIncludes(again.body, '<meta http-equiv="refresh" content="0">');
  assertEquals((await get({ ...link, "sec-fetch-dest": "iframe" })).status, 403);
});

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

Deno.test("GET /docs and all that it names come from this server, under a strict policy, for everyone", async () => {
  await using db = await testSchema();
  await using bundle = await testBundle();
  const copied = {
    "ui/reference": ["index.html", "reference.js"],
    "node_modules/swagger-ui-dist": ["swagger-ui.css", "swagger-ui-bundle.js"],
  };
  for (const [from, names] of Object.entries(copied)) {
    for (const name of names) await Deno.copyFile(`${ROOT}${from}/${name}`, `${bundle.folder}/docs/${name}`);
  }
  const access = { token: "a-token-of-sixteen", remoteAddress: () => "192.0.2.1" };
  const { app, ask } = testApp(db, { bundle: bundle.folder, access, isSchemaReady: () => false });
  const { status, headers, body } = await ask("GET /docs");
  const page: string = body;
  assertEquals([status, headers.get("content-type")], [200, "text/html; charset=utf-8"]);
  const policy = headers.get("content-security-policy") ?? "";
  assertStringIncludes(policy, "default-src 'none'; script-src 'self'; style-src 'self';");
  assert(!policy.includes("unsafe") && !policy.includes("http"), policy);
  assert(!/<script>|<style| style=| on\w+=/.test(page), "the policy lets nothing inline through");

  const named = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url = ""]) => url);
  const files = named.filter((url) => !url.startsWith("data:"));
  assertEquals(files, ["/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/reference.js"]);
  const script: string = (await ask("GET /docs/reference.js")).body;
  const described = /url: "([^"]+)"/.exec(script)?.[1] ?? "";
  for (const url of [...files, described]) {
    const answer = await app.request(url);
    const [, ending = ""] = url.split(".");
    const type = { css: "text/css", json: "application/json", js: "text/javascript" }[ending];
    assertEquals([answer.status, answer.headers.get("content-type")?.split(";")[0]], [200, type], url);
    await answer.body?.cancel();
  }
  const large = await ask("GET /docs/swagger-ui-bundle.js");
  assertEquals([large.headers.get("cache-control"), large.body.length > 1e6], ["no-cache", true]);
  const known = { "if-none-match": large.headers.get("etag") ?? "" };
  assertEquals((await ask("GET /docs/swagger-ui-bundle.js", undefined, known)).status, 304, "sent once");
});

Deno.test("nothing but the bundles' files is served", async () => {
  await using db = await testSchema();
  await using bundle = await testBundle();
  const { ask } = testApp(db, { bundle: bundle.folder });
  const names = ["assets.json", "none-ABCD1234.js", "..%2fsecret.js", "%2e%2e%2fsecret.js", "..\\secret.js"];
  for (const path of [...names.flatMap((name) => [`/assets/${name}`, `/docs/${name}`]), "/assets/"]) {
    assertEquals((await ask(`GET ${path}`)).status, 404, path);
  }
});
