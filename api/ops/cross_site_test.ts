/**
 * What other sites' pages may have a browser send, against a server that listens: nothing comes of it.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { rawRequest } from "../../specs/support/http.ts";
import { serve, type ServedApp, testApp } from "../../specs/support/test_app.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import { ORDER } from "../../specs/support/test_events.ts";

shareTestSchema();

const TOKEN = "a-token-of-sixteen";
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
    for (const line of CHANGES) {
      assertEquals(await statusOf(api, line, headers), 403, `${line} ${JSON.stringify(headers)}`);
    }
    assertEquals(await statusOf(api, "GET /ops/debug", headers), 403, JSON.stringify(headers));
    assertEquals(await statusOf(api, "POST /logout", headers), 403, JSON.stringify(headers));
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
  await using guarded = serve(testApp(db, { access: { token: TOKEN, remoteAddress: () => null } }));
  const bearer = { authorization: `Bearer ${TOKEN}`, host: "shop.example", "x-forwarded-for": "192.0.2.1" };
  assertEquals(await statusOf(guarded, "GET /ops/outbox", bearer), 200, "with the token it may");
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
