import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { connect, transaction } from "../../shared/sql/connect.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { insertHistory } from "../../specs/support/test_events.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { createLiveFeed } from "../ops/live_feed.ts";

shareTestSchema();

const TOKEN = "a-token-of-sixteen";

/** A bundle as `deno task ui:bundle` leaves it, with a file beside it that is none of it. */
async function fakeBundle(): Promise<{ folder: string } & AsyncDisposable> {
  const root = await Deno.makeTempDir({ prefix: "orderflow_bundle_" });
  const folder = join(root, "dist");
  await Deno.mkdir(folder);
  const files = {
    "dist/island-ABCD1234.js": "script",
    "dist/styles-EFGH5678.css": "styles",
    "dist/assets.json": '{"script":"island-ABCD1234.js","styles":"styles-EFGH5678.css"}',
    "secret.js": "secret",
  };
  for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(join(root, name), text);
  return { folder, [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }) };
}

Deno.test("GET / is the page with orders and the chosen one's story", async () => {
  await using db = await testSchema();
  await using bundle = await fakeBundle();
  await insertHistory(db.sql, "COMPLETED");
  const [row] = await db.sql<{ id: string }[]>`select id from orders`;
  const { app, deps } = testApp(db, { bundle: bundle.folder });
  const response = await app.request(`/?order=${row?.id}`);
  const page = await response.text();
  assertEquals(response.status, 200);
  assertStringIncludes(page, 'src="/assets/island-ABCD1234.js"');
  assertStringIncludes(page, 'href="/assets/styles-EFGH5678.css"');
  const state = JSON.parse(
    /<script type="application\/json" id="state">(.*?)<\/script>/.exec(page)?.[1] ?? "",
  );
  assertEquals(state.story.order.id, row?.id);
  assertEquals(state.story.timeline.at(-1).kind !== undefined, true);
  assertEquals(state.orders.orders.map(({ id }: { id: string }) => id), [row?.id]);
  assertEquals(state.pulse.orders.length, 1);
  assert(!page.includes(" style="), "the policy lets no inline style through");
  const other = await app.request(`/?order=${crypto.randomUUID()}`);
  assertEquals(other.status, 200, "an order that is not there leaves the page standing");
  await deps.live.close();
});

Deno.test("GET /assets/:name serves nothing but the bundle's files", async () => {
  await using db = await testSchema();
  await using bundle = await fakeBundle();
  const { app } = testApp(db, { bundle: bundle.folder });
  const others = [
    "assets.json",
    "none-ABCD1234.js",
    "..%2fsecret.js",
    "%2e%2e%2fsecret.js",
    "..\\secret.js",
    "",
  ];
  for (const name of others) {
    const response = await app.request(`/assets/${name}`);
    assertEquals(response.status, 404, name);
    await response.body?.cancel();
  }
});

Deno.test("GET / says in words what is missing: the bundle, or the database, and then asks again by itself", async () => {
  await using db = await testSchema();
  await using bundle = await fakeBundle();
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
  for (const [{ app }, words] of cases) {
    const response = await app.request("/");
    const page = await response.text();
    assertEquals(response.status, 503);
    assertStringIncludes(page, words);
    assertMatch(page, /<meta http-equiv="refresh" content="\d+">/);
  }
  await away.end({ timeout: 1 });
});

Deno.test("GET / tells a database that takes its time from one that is away", async () => {
  await using db = await testSchema();
  await using bundle = await fakeBundle();
  const { app } = testApp(db, { bundle: bundle.folder });
  assertEquals((await app.request("/")).status, 200);
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
  const response = await app.request("/");
  hold.resolve();
  await held;
  assertEquals([response.status, response.headers.get("retry-after")], [503, "3"]);
  assertStringIncludes(await response.text(), "<h1>The database does not answer in time</h1>");
  await eventually("the page to be back", async () => (await app.request("/")).status === 200);
});

Deno.test("GET / is for those who may use /ops; a link on another site leads there all the same", async () => {
  await using db = await testSchema();
  const foreign = testApp(db, { access: { token: undefined, remoteAddress: () => "192.0.2.1" } });
  assertEquals((await foreign.app.request("/")).status, 403);
  const { app } = testApp(db);
  const headers = { "sec-fetch-site": "cross-site" };
  assertEquals((await app.request("/", { headers })).status, 403);
  const link = { ...headers, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
  const again = await app.request("/", { headers: link });
  assertEquals(again.status, 200);
  assertStringIncludes(await again.text(), '<meta http-equiv="refresh" content="0">');
  assertEquals((await app.request("/", { headers: { ...link, "sec-fetch-dest": "iframe" } })).status, 403);
});

/** What a browser keeps of the answer's cookie. */
function cookieOf(response: Response): string {
  return response.headers.get("set-cookie")?.split(";")[0] ?? "";
}

const login = (token: string, headers: Record<string, string> = {}, next = ""): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/x-www-form-urlencoded", ...headers },
  body: new URLSearchParams({ token, next }).toString(),
});

Deno.test("with OPS_TOKEN the page asks for it once, and the cookie opens the page and /ops from then on", async () => {
  await using db = await testSchema();
  await using bundle = await fakeBundle();
  const access = { token: TOKEN, remoteAddress: () => null };
  const { app, deps } = testApp(db, { bundle: bundle.folder, access });
  const asked = await app.request("/");
  assertEquals(asked.status, 401);
  assertStringIncludes(await asked.text(), 'action="/login"');

  const wrong = await app.request("/login", login("another-token-sixteen"));
  assertEquals([wrong.status, wrong.headers.get("set-cookie")], [401, null]);
  assertStringIncludes(await wrong.text(), "not the token");

  const signedIn = await app.request("/login", login(TOKEN));
  assertEquals([signedIn.status, signedIn.headers.get("location")], [303, "/"]);
  const cookie = cookieOf(signedIn);
  assertMatch(signedIn.headers.get("set-cookie") ?? "", /; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Strict$/);
  assertEquals((await app.request("/", { headers: { cookie } })).status, 200);
  assertEquals((await app.request("/ops/outbox", { headers: { cookie } })).status, 200);
  assertEquals((await app.request("/metrics", { headers: { cookie } })).status, 200);

  const overTls = await app.request("/login", login(TOKEN, { "x-forwarded-proto": "https" }));
  assertMatch(overTls.headers.get("set-cookie") ?? "", /; Secure/);
  const signedOut = await app.request("/logout", { method: "POST", headers: { cookie } });
  assertEquals([signedOut.status, cookieOf(signedOut)], [303, "orderflow_ops="]);
  await deps.live.close();
});

Deno.test("who signs in goes on where one was, on this page and on no other site", async () => {
  await using db = await testSchema();
  const access = { token: TOKEN, remoteAddress: () => null };
  const { app } = testApp(db, { access });
  const asked = await app.request("/?tab=messages&list=dead");
  assertStringIncludes(await asked.text(), 'value="/?tab=messages&amp;list=dead"');
  const goesTo = async (next: string) =>
    (await app.request("/login", login(TOKEN, {}, next))).headers.get("location");
  assertEquals(await goesTo("/?tab=messages&list=dead"), "/?tab=messages&list=dead");
  for (
    const next of [
      "//evil.example/?a",
      "https://evil.example",
      "/\\evil.example",
      "/ops/outbox/tick",
      "/?a\r\nb",
    ]
  ) {
    assertEquals(await goesTo(next), "/", next);
  }
});

Deno.test("with the cookie alone, changes are made from the page only", async () => {
  await using db = await testSchema();
  const { app } = testApp(db, { access: { token: TOKEN, remoteAddress: () => null } });
  const cookie = cookieOf(await app.request("/login", login(TOKEN)));
  const post = (headers: Record<string, string>) =>
    app.request("http://shop.example/ops/outbox/tick", { method: "POST", headers: { cookie, ...headers } });
  assertEquals((await post({})).status, 403);
  assertEquals((await post({ origin: "https://evil.example" })).status, 403);
  assertEquals((await post({ origin: "null" })).status, 403);
  assertEquals((await post({ "sec-fetch-site": "cross-site" })).status, 403);
  assertEquals((await post({ "sec-fetch-site": "same-origin" })).status, 200);
  assertEquals((await post({ origin: "https://shop.example" })).status, 200);
  const bearer = { authorization: `Bearer ${TOKEN}` };
  const response = await app.request("/ops/outbox/tick", { method: "POST", headers: bearer });
  assertEquals(response.status, 200);
});

Deno.test("POST /login refuses other sites' pages, other types, and too many guesses at once", async () => {
  await using db = await testSchema();
  const { app } = testApp(db, { access: { token: TOKEN, remoteAddress: () => null } });
  assertEquals((await app.request("/login", login(TOKEN, { origin: "https://evil.example" }))).status, 403);
  assertEquals((await app.request("/login", login(TOKEN, { "content-type": "text/plain" }))).status, 415);
  const guesses = await Promise.all(Array.from({ length: 12 }, () => app.request("/login", login("guess"))));
  const counted = Map.groupBy(guesses, ({ status }) => status);
  assertEquals([counted.get(401)?.length, counted.get(429)?.length], [10, 2]);
  assertEquals((await app.request("/login", login(TOKEN))).status, 303);
  assertEquals(
    (await testApp(db).app.request("/login", login("x"))).status,
    303,
    "there is no token to ask for",
  );
});
