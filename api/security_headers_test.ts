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

/** A request, the status and type of its answer, and what else is not as usual. */
type Case = [line: string, status: number, type: string | null, more?: {
  readonly init?: RequestInit;
  readonly policy?: string;
  readonly cache?: string;
}];

const badJson = { init: { headers: { "content-type": "application/json" }, body: "{" } };
/** What a browser asks before another site's page may send an order (CORS): nothing lets it. */
const foreign = {
  init: { headers: { origin: "https://evil.example", "access-control-request-method": "POST" } },
};
const crossSite = { init: { headers: { "sec-fetch-site": "cross-site" } } };
const [json, problem] = ["application/json", "application/problem+json"];
const html = "text/html; charset=utf-8";

const CASES: readonly Case[] = [
  ["GET /healthz", 200, json],
  ["HEAD /healthz", 200, json],
  ["GET /readyz", 503, json],
  ["GET /orders", 200, json],
  ["POST /orders", 400, problem, badJson],
  ["DELETE /orders", 405, problem],
  ["GET /orders", 200, json, foreign],
  ["OPTIONS /orders", 405, problem, foreign],
  ["OPTIONS /ops/outbox/tick", 403, problem, foreign],
  ["GET /nope", 404, problem],
  ["GET /ops/debug", 200, json],
  ["GET /ops/debug", 403, problem, crossSite],
  ["GET /ops/audit", 500, problem],
  ["GET /ops/live", 200, "text/event-stream; charset=utf-8"],
  ["GET /metrics", 200, "text/plain; version=0.0.4; charset=utf-8"],
  ["GET /", 200, html, { policy: PAGE }],
  ["POST /login", 303, null],
  ["GET /assets/island-XOCXUP7F.js", 200, "text/javascript; charset=utf-8", { cache: FOR_EVER }],
  ["GET /assets/plain.css", 200, "text/css; charset=utf-8", { cache: "no-cache" }],
  ["GET /assets/none.js", 404, problem],
];

async function check({ url }: ServedApp, [line, status, type, more = {}]: Case): Promise<void> {
  const [method = "", path] = line.split(" ");
  const response = await fetch(`${url}${path}`, { method, redirect: "manual", ...more.init });
  await response.body?.cancel();
  const { headers } = response;
  const about = `${line} ${response.status}`;
  assertEquals([response.status, headers.get("content-type")], [status, type], about);
  const wanted = {
    ...OF_EVERY_ANSWER,
    "content-security-policy": more.policy ?? NOTHING,
    "cache-control": more.cache ?? "no-store",
  };
  for (const [name, value] of Object.entries(wanted)) {
    assertEquals(headers.get(name), value, `${about}: ${name}`);
  }
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

Deno.test("what asks for the token, and what cannot be answered because the database is away, have them too", async () => {
  await using db = await testSchema();
  await using files = await testBundle();
  const access = { token: TOKEN, remoteAddress: () => null };
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  const login = (token: string) => ({ init: { headers, body: `token=${token}` } });
  await using asking = serve(testApp(db, { bundle: files.folder, access }));
  await check(asking, ["GET /", 401, html, { policy: PAGE }]);
  await check(asking, ["GET /ops/debug", 401, problem]);
  await check(asking, ["POST /login", 401, html, { ...login("wrong"), policy: PAGE }]);
  await check(asking, ["POST /login", 303, null, login(TOKEN)]);
  await using away = serve(testApp(db, { isSchemaReady: () => false }));
  await check(away, ["GET /orders", 503, problem]);
  await check(away, ["GET /", 503, html, { policy: PAGE }]); // and the bundle is missing
});
