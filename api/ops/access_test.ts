// Who gets in, with what; and what other sites' pages may have a browser send, against a server that listens: nothing
// comes of it.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { rawRequest } from "../../specs/support/http.ts";
import { serve, type ServedApp, type TestApp, testApp, testBundle } from "../../specs/support/test_app.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import { ORDER } from "../../specs/support/test_events.ts";
import { isSame } from "./access.ts";

shareTestSchema();

const TOKEN = "a-token-of-sixteen";
const guarded = { access: { token: TOKEN, remoteAddress: () => null } };
const topology = usualTopology();

/** The status of a request whose head says exactly this. */
async function statusOf(
  { url }: ServedApp,
  line: string,
  headers: Readonly<Record<string, string>> = {},
  body = "",
): Promise<number | undefined> {
  const fields = { host: new URL(url).host, ...headers };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}`);
  const length = body ? [`content-length: ${body.length}`] : [];
  const { statuses } = await rawRequest(url, [`${line} HTTP/1.1`, ...lines, ...length], body);
  return statuses[0];
}

/** Every kind of change that ops can make, as the lines of requests. */
const CHANGES = [
  "POST /ops/scenarios/order-success",
  "POST /ops/outbox/tick",
  `POST /ops/outbox/${crypto.randomUUID()}/republish`,
  "POST /ops/dead-letters/discard",
  "POST /ops/replays",
  "PUT /ops/faults",
  "DELETE /ops/faults",
];

async function assertUntouched({ sql }: TestSchema): Promise<void> {
  for (const table of ["orders", "outbox_events", "faults", "replays"]) {
    assertEquals((await sql`select from ${sql(table)}`).count, 0, table);
  }
}

Deno.test("changes that another site's page asks for are refused, by fetch metadata and by origin", async () => {
  await using db = await testSchema();
  await using api = serve(testApp(db, { faults: topology }));
  const foreign: Record<string, string>[] = [
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" }, // another port of this machine is another site's page to us
    { "sec-fetch-site": "cross-site", origin: api.url },
    { origin: "https://evil.example" },
    { origin: "http://127.0.0.1:1" },
    { origin: "null" }, // a sandboxed frame, a redirect, a file
    { origin: api.url.replace("http:", "http://evil.example/") },
  ];
  for (const headers of foreign) {
    for (const line of [...CHANGES, "GET /ops/debug", "POST /login", "POST /logout"]) {
      assertEquals(await statusOf(api, line, headers), 403, `${line} ${JSON.stringify(headers)}`);
    }
  }
  await assertUntouched(db);
  for (const headers of [{ "sec-fetch-site": "same-origin" }, { origin: api.url }]) {
    assertEquals(await statusOf(api, "DELETE /ops/holds/relay", headers), 200);
  }
});

Deno.test("a foreign name that resolves to this machine (DNS rebinding) opens neither /ops nor the page", async () => {
  await using db = await testSchema();
  await using api = serve(testApp(db, { faults: topology }));
  const { port } = new URL(api.url);
  const names = [
    "evil.example",
    `evil.example:${port}`,
    `127.0.0.1.evil.example:${port}`,
    `localhost.evil.example:${port}`,
    "127.0.0.1@evil.example",
    "0.0.0.0", // resolves to this machine as well, and pages of other sites can ask for it
    "[::ffff:1.2.3.4]",
  ];
  for (const host of names) {
    for (const line of ["GET /", "GET /ops/debug", "GET /metrics", "GET /ops/live", ...CHANGES]) {
      const status = await statusOf(api, line, { host });
      assert(status === 403 || status === 400, `${line} for ${host}: ${status}`);
    }
  }
  const odd = {
    "an absolute target": ["GET http://evil.example/ops/outbox HTTP/1.1", "host: 127.0.0.1"],
    "two hosts": ["GET /ops/outbox HTTP/1.1", "host: evil.example", "host: 127.0.0.1"],
  };
  for (const [what, head] of Object.entries(odd)) {
    const { statuses: [status] } = await rawRequest(api.url, head);
    assert(status === 403 || status === 400, `${what}: ${status}`);
  }
  await assertUntouched(db);
  for (const host of ["127.0.0.1", `localhost:${port}`, "[::1]"]) {
    assertEquals(await statusOf(api, "GET /ops/outbox", { host }), 200, host);
  }
});

Deno.test("what comes by way of a proxy is not from this machine: without a token /ops refuses it", async () => {
  await using db = await testSchema();
  await using api = serve(testApp(db));
  const marks: Record<string, string>[] = [
    { forwarded: "for=192.0.2.1" },
    { "x-forwarded-for": "192.0.2.1" },
    { "x-forwarded-for": "127.0.0.1" }, // whatever it claims
    { "x-forwarded-host": "shop.example" },
    { "x-real-ip": "192.0.2.1" },
    { via: "1.1 proxy" },
  ];
  for (const headers of marks) {
    assertEquals(await statusOf(api, "GET /ops/outbox", headers), 403, JSON.stringify(headers));
    assertEquals(await statusOf(api, "GET /orders", headers), 200, "orders are everybody's");
  }
  await using withToken = serve(testApp(db, guarded));
  const bearer = { authorization: `Bearer ${TOKEN}`, host: "shop.example", "x-forwarded-for": "192.0.2.1" };
  assertEquals(await statusOf(withToken, "GET /ops/outbox", bearer), 200, "with the token it may");
});

Deno.test("a form can send no order and nothing to /ops: the types of simple requests are refused", async () => {
  await using db = await testSchema();
  await using api = serve(testApp(db, { faults: topology }));
  const simple = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""];
  const bodies: [line: string, body: string][] = [
    ["POST /orders", JSON.stringify(ORDER)],
    ["POST /ops/replays", '{"type":"order.created"}'],
    ["POST /ops/dead-letters/redrive", "{}"],
    ["POST /ops/dead-letters/discard", '{"because":"x"}'],
    ["PUT /ops/faults", '{"faults":[{"point":"delivery.lost"}]}'],
  ];
  for (const [line, body] of bodies) {
    for (const type of simple) {
      const headers = type ? { "content-type": type } : {};
      assertEquals(await statusOf(api, line, headers, body), 415, `${line} as ${type || "nothing"}`);
    }
  }
  await assertUntouched(db);
});

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
  const asked = await api.ask("GET /?tab=messages&list=dead");
  assertEquals(asked.status, 401);
  for (const part of ['action="/login"', 'value="/?tab=messages&amp;list=dead"']) {
    assertStringIncludes(asked.body, part);
  }
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

Deno.test("POST /login goes on where one was, on no other site; it refuses other types, and too many guesses at once", async () => {
  await using db = await testSchema();
  const api = testApp(db, guarded);
  const goesTo = async (next: string) => (await signIn(api, TOKEN, {}, next)).headers.get("location");
  assertEquals(await goesTo("/?tab=messages&list=dead"), "/?tab=messages&list=dead");
  const foreign = ["//evil.example/?a", "https://evil.example", "/\\evil.example"];
  for (const next of [...foreign, "/ops/outbox/tick", "/?a\r\nb"]) {
    assertEquals(await goesTo(next), "/", next);
  }
  assertEquals((await signIn(api, TOKEN, { "content-type": "text/plain" })).status, 415);
  const guesses = await Promise.all(Array.from({ length: 12 }, () => signIn(api, "guess")));
  const counted = Map.groupBy(guesses, ({ status }) => status);
  assertEquals([counted.get(401)?.length, counted.get(429)?.length], [10, 2]);
  assertEquals((await signIn(api)).status, 303);
  assertEquals((await signIn(testApp(db), "x")).status, 303, "there is no token to ask for");
});

Deno.test("isSame() tells any two texts apart, whatever they have in common", () => {
  for (const text of [TOKEN, "", "tökén"]) assert(isSame(text, text));
  const others = ["", " ", TOKEN.slice(0, -1), TOKEN.slice(1), `${TOKEN}x`, `x${TOKEN}`, `${TOKEN}\0`];
  const changed = [...TOKEN].map((_, i) => `${TOKEN.slice(0, i)}#${TOKEN.slice(i + 1)}`);
  for (const other of [...others, ...changed, TOKEN.toUpperCase()]) {
    assert(!isSame(other, TOKEN), JSON.stringify(other));
    assert(!isSame(TOKEN, other), JSON.stringify(other));
  }
});
