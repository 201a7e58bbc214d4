import { assertEquals } from "@std/assert";
import { serve, type ServedApp, testApp, testBundle } from "../specs/support/test_app.ts";
import { shareTestSchema, testSchema } from "../specs/support/test_schema.ts";

shareTestSchema();

const TOKEN = "a-token-of-sixteen";
const OF_EVERY_ANSWER = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};
const NOTHING = "default-src 'none'; frame-ancestors 'none'";
const PAGE = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
  "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const FOR_EVER = "public, max-age=31536000, immutable";

interface Case {
  readonly path: string;
  readonly init?: RequestInit;
  readonly status: number;
  readonly type: string | null;
  readonly policy?: string;
  readonly cache?: string;
}

const json = { "content-type": "application/json" };
/** What a browser asks before another site's page may send an order (CORS): nothing lets it. */
const foreign = { origin: "https://evil.example", "access-control-request-method": "POST" };
const problem = "application/problem+json";
const html = "text/html; charset=utf-8";

const CASES: readonly Case[] = [
  { path: "/healthz", status: 200, type: "application/json" },
  { path: "/healthz", init: { method: "HEAD" }, status: 200, type: "application/json" },
  { path: "/readyz", status: 503, type: "application/json" },
  { path: "/orders", status: 200, type: "application/json" },
  { path: "/orders", init: { method: "POST", headers: json, body: "{" }, status: 400, type: problem },
  { path: "/orders", init: { method: "DELETE" }, status: 405, type: problem },
  { path: "/orders", init: { headers: foreign }, status: 200, type: "application/json" },
  { path: "/orders", init: { method: "OPTIONS", headers: foreign }, status: 405, type: problem },
  { path: "/ops/outbox/tick", init: { method: "OPTIONS", headers: foreign }, status: 403, type: problem },
  { path: "/nope", status: 404, type: problem },
  { path: "/ops/debug", status: 200, type: "application/json" },
  { path: "/ops/debug", init: { headers: { "sec-fetch-site": "cross-site" } }, status: 403, type: problem },
  { path: "/ops/audit", status: 500, type: problem },
  { path: "/ops/live", status: 200, type: "text/event-stream; charset=utf-8" },
  { path: "/metrics", status: 200, type: "text/plain; version=0.0.4; charset=utf-8" },
  { path: "/", status: 200, type: html, policy: PAGE },
  { path: "/login", init: { method: "POST" }, status: 303, type: null },
  {
    path: "/assets/island-XOCXUP7F.js",
    status: 200,
    type: "text/javascript; charset=utf-8",
    cache: FOR_EVER,
  },
  { path: "/assets/plain.css", status: 200, type: "text/css; charset=utf-8", cache: "no-cache" },
  { path: "/assets/none.js", status: 404, type: problem },
];

async function check({ url }: ServedApp, { path, init, status, type, policy, cache }: Case): Promise<void> {
  const response = await fetch(`${url}${path}`, { redirect: "manual", ...init });
  await response.body?.cancel();
  const { headers } = response;
  const about = `${init?.method ?? "GET"} ${path} ${response.status}`;
  assertEquals([response.status, headers.get("content-type")], [status, type], about);
  for (const [name, value] of Object.entries(OF_EVERY_ANSWER)) {
    assertEquals(headers.get(name), value, `${about}: ${name}`);
  }
  assertEquals(headers.get("content-security-policy"), policy ?? NOTHING, about);
  assertEquals(headers.get("cache-control"), cache ?? "no-store", about);
  for (const name of ["server", "x-powered-by", "access-control-allow-origin", "strict-transport-security"]) {
    assertEquals(headers.get(name), null, `${about}: ${name}`);
  }
}

Deno.test("every kind of answer has the headers that it should have, and none that tells too much", async () => {
  await using db = await testSchema();
  await using files = await testBundle();
  const broken = () => Promise.reject(new Error("on purpose"));
  await using api = serve(testApp(db, { bundle: files.folder, audit: broken }));
  for (const each of CASES) await check(api, each);
});

Deno.test("what asks for the token has them too", async () => {
  await using db = await testSchema();
  await using files = await testBundle();
  const access = { token: TOKEN, remoteAddress: () => null };
  await using api = serve(testApp(db, { bundle: files.folder, access }));
  await check(api, { path: "/", status: 401, type: html, policy: PAGE });
  await check(api, { path: "/ops/debug", status: 401, type: problem });
  const form = { "content-type": "application/x-www-form-urlencoded" };
  const login = (token: string) => ({ method: "POST", headers: form, body: `token=${token}` });
  await check(api, { path: "/login", init: login("wrong"), status: 401, type: html, policy: PAGE });
  await check(api, { path: "/login", init: login(TOKEN), status: 303, type: null });
});

Deno.test("what cannot be answered because the database is away has them too", async () => {
  await using db = await testSchema();
  await using api = serve(testApp(db, { isSchemaReady: () => false }));
  await check(api, { path: "/orders", status: 503, type: problem });
  await check(api, { path: "/", status: 503, type: html, policy: PAGE }); // and the bundle is missing
});
