import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { connect, transaction } from "../../shared/sql/connect.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { insertHistory } from "../../specs/support/test_events.ts";
import { type TestApp, testApp, testBundle } from "../../specs/support/test_app.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { createLiveFeed } from "../ops/live.ts";

shareTestSchema();

const TOKEN = "a-token-of-sixteen";

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

Deno.test("GET /assets/:name serves nothing but the bundle's files", async () => {
  await using db = await testSchema();
  await using bundle = await testBundle();
  const { ask } = testApp(db, { bundle: bundle.folder });
  const paths = ["..%2fsecret.js", "%2e%2e%2fsecret.js", "..\\secret.js"];
  for (const name of ["assets.json", "none-ABCD1234.js", ...paths, ""]) {
    assertEquals((await ask(`GET /assets/${name}`)).status, 404, name);
  }
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

const guarded = { access: { token: TOKEN, remoteAddress: () => null } };

/** Sends the form in which the page asks for the token. Answers with the cookie too, as a browser keeps it. */
async function signIn({ ask }: TestApp, token = TOKEN, more: Record<string, string> = {}, next = "") {
  const form = { "content-type": "application/x-www-form-urlencoded", ...more };
  const answer = await ask("POST /login", `${new URLSearchParams({ token, next })}`, form);
  return { ...answer, cookie: answer.headers.get("set-cookie")?.split(";")[0] ?? "" };
}

Deno.test("with OPS_TOKEN the page asks for it once, and the cookie opens the page and /ops from then on", async () => {
  await using db = await testSchema();
  await using bundle = await testBundle();
  const api = testApp(db, { ...guarded, bundle: bundle.folder });
  const asked = await api.ask("GET /");
  assertEquals(asked.status, 401);
  assertStringIncludes(asked.body, 'action="/login"');

  const wrong = await signIn(api, "another-token-sixteen");
  assertEquals([wrong.status, wrong.cookie], [401, ""]);
  assertStringIncludes(wrong.body, "not the token");

  const { status, headers, cookie } = await signIn(api);
  assertEquals([status, headers.get("location")], [303, "/"]);
  assertMatch(headers.get("set-cookie") ?? "", /; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Strict$/);
  for (const path of ["/", "/ops/outbox", "/metrics"]) {
    assertEquals((await api.ask(`GET ${path}`, undefined, { cookie })).status, 200, path);
  }
  const overTls = await signIn(api, TOKEN, { "x-forwarded-proto": "https" });
  assertMatch(overTls.headers.get("set-cookie") ?? "", /; Secure/);
  const signedOut = await api.ask("POST /logout", undefined, { cookie });
  assertEquals(signedOut.status, 303);
  assertMatch(signedOut.headers.get("set-cookie") ?? "", /^orderflow_ops=;/);
  await api.deps.live.close();
});

Deno.test("a cookie holds until its time, for its token, gives nothing of it away, and cannot be made to last", async () => {
  await using db = await testSchema();
  const guardedBy = (token: string) => testApp(db, { access: { token, remoteAddress: () => null } });
  const signedIn = async (token: string) =>
    decodeURIComponent((await signIn(guardedBy(token), token)).cookie.replace("orderflow_ops=", ""));
  const statusWith = async (value: string, token = TOKEN) => {
    const cookie = `orderflow_ops=${encodeURIComponent(value)}`;
    return (await guardedBy(token).ask("GET /ops/holds", undefined, { cookie })).status;
  };
  const cookie = await signedIn(TOKEN);
  assertEquals(await statusWith(cookie), 200);
  assertEquals(await statusWith(cookie, `${TOKEN}2`), 401, "the token has changed");
  assert(!cookie.includes(TOKEN) && cookie !== await signedIn(`${TOKEN}2`));
  const [seconds, signature] = cookie.split(".");
  const times = [`${Number(seconds) + 1}`, "", "NaN", "Infinity"].map((time) => `${time}.${signature}`);
  for (const value of ["", ".", TOKEN, ...times, `${seconds}`, `${seconds}.`, `${cookie}x`]) {
    assertEquals(await statusWith(value), 401, value);
  }
  const { now } = Date;
  try {
    Date.now = () => Number(seconds) * 1000 - 1;
    assertEquals(await statusWith(cookie), 200);
    Date.now = () => Number(seconds) * 1000;
    assertEquals(await statusWith(cookie), 401, "it is over");
  } finally {
    Date.now = now;
  }
});

Deno.test("who signs in goes on where one was, on this page and on no other site", async () => {
  await using db = await testSchema();
  const api = testApp(db, guarded);
  const asked = await api.ask("GET /?tab=messages&list=dead");
  assertStringIncludes(asked.body, 'value="/?tab=messages&amp;list=dead"');
  const goesTo = async (next: string) => (await signIn(api, TOKEN, {}, next)).headers.get("location");
  assertEquals(await goesTo("/?tab=messages&list=dead"), "/?tab=messages&list=dead");
  const elsewhere = [
    "//evil.example/?a",
    "https://evil.example",
    "/\\evil.example",
    "/ops/outbox/tick",
    "/?a\r\nb",
  ];
  for (const next of elsewhere) assertEquals(await goesTo(next), "/", next);
});

Deno.test("with the cookie alone, changes are made from the page only", async () => {
  await using db = await testSchema();
  const { app, ...api } = testApp(db, guarded);
  const { cookie } = await signIn({ app, ...api });
  const cases: [headers: Record<string, string>, status: number][] = [
    [{ cookie }, 403],
    [{ cookie, origin: "https://evil.example" }, 403],
    [{ cookie, origin: "null" }, 403],
    [{ cookie, "sec-fetch-site": "cross-site" }, 403],
    [{ cookie, "sec-fetch-site": "same-origin" }, 200],
    [{ cookie, origin: "https://shop.example" }, 200],
    [{ authorization: `Bearer ${TOKEN}` }, 200],
  ];
  for (const [headers, status] of cases) {
    const response = await app.request("http://shop.example/ops/holds/relay", { method: "PUT", headers });
    assertEquals(response.status, status, JSON.stringify(headers));
  }
});

Deno.test("POST /login refuses other sites' pages, other types, and too many guesses at once", async () => {
  await using db = await testSchema();
  const api = testApp(db, guarded);
  assertEquals((await signIn(api, TOKEN, { origin: "https://evil.example" })).status, 403);
  assertEquals((await signIn(api, TOKEN, { "content-type": "text/plain" })).status, 415);
  const guesses = await Promise.all(Array.from({ length: 12 }, () => signIn(api, "guess")));
  const counted = Map.groupBy(guesses, ({ status }) => status);
  assertEquals([counted.get(401)?.length, counted.get(429)?.length], [10, 2]);
  assertEquals((await signIn(api)).status, 303);
  assertEquals((await signIn(testApp(db), "x")).status, 303, "there is no token to ask for");
});
