// What a request may be, against a server that listens: how large its head and its body, and how long it may take.

import { assert, assertEquals } from "@std/assert";
import { Hono } from "hono";
import { connectRaw, rawRequest } from "../specs/support/http.ts";
import { serve, testApp } from "../specs/support/test_app.ts";
import { shareTestSchema, testSchema } from "../specs/support/test_schema.ts";
import { ORDER } from "../specs/support/test_events.ts";
import { type ApiEnv, HttpProblem, problemResponse, readBody, readJson } from "./http.ts";

shareTestSchema();

const POST = ["POST /orders HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"];
const GET = ["GET /healthz HTTP/1.1", "host: 127.0.0.1"];
const KIB = 1024;

Deno.test("a head has its limits: the server refuses longer lines, larger and more headers, and hangs up", async () => {
  await using db = await testSchema();
  await using api = serve(testApp(db));
  const tooMuch = {
    "a target of 80 KiB": [`GET /${"a".repeat(80 * KIB)} HTTP/1.1`, "host: 127.0.0.1"],
    "a header of 80 KiB": [...GET, `x: ${"y".repeat(80 * KIB)}`],
    "a head of 80 KiB": [...GET, ...Array.from({ length: 10 }, () => `x: ${"y".repeat(8 * KIB)}`)],
    "150 headers": [...GET, ...Array.from({ length: 150 }, () => "x: y")],
  };
  for (const [what, head] of Object.entries(tooMuch)) {
    await using connection = await connectRaw(api.url);
    await connection.send([...head, "", ""].join("\r\n"));
    const { statuses, ended } = await connection.read();
    assert(ended, `${what}: the connection stays open`);
    assert(
      statuses.every((status) => status === 400 || status === 414 || status === 431),
      `${what}: ${statuses}`,
    );
  }
  const enough = [...GET, `x: ${"y".repeat(48 * KIB)}`, ...Array.from({ length: 100 }, () => "x: y")];
  assertEquals((await rawRequest(api.url, enough)).statuses, [200]);
});

Deno.test("a request that can be read in two ways is refused, so that nothing is smuggled past a proxy", async () => {
  await using db = await testSchema();
  await using api = serve(testApp(db));
  const second = `POST /ops/scenarios/order-success HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n`;
  const ambiguous = [
    [...POST, "content-length: 5", "transfer-encoding: chunked"],
    [...POST, "content-length: 5", "content-length: 6"],
    [...POST, "content-length: +5"],
    [...POST, "transfer-encoding: chunked, identity"],
    [...POST, " folded: line", "content-length: 5"],
  ];
  for (const head of ambiguous) {
    const { statuses } = await rawRequest(api.url, head, `0\r\n\r\n${second}`);
    assert(statuses.every((status) => status >= 400), `${head.slice(3)}: ${statuses}`);
  }
  assertEquals((await db.sql`select from orders`).count, 0);
});

/** The first answer to a request that is sent as far as this, and no further. */
async function firstAnswer(url: string, head: readonly string[], begun: string): Promise<string> {
  await using connection = await connectRaw(url);
  await connection.send([...head, "", begun].join("\r\n"));
  return await connection.until((text) => text.includes("\r\n\r\n"));
}

Deno.test("a body above 16 KiB is refused, whether it says so or not, and before all of it has come", async () => {
  await using db = await testSchema();
  await using api = serve(testApp(db));
  const chunk = `${(8 * KIB).toString(16)}\r\n${" ".repeat(8 * KIB)}\r\n`;
  const tooLarge = { "content-length: 1000000000": "{", "transfer-encoding: chunked": chunk.repeat(3) };
  for (const [length, begun] of Object.entries(tooLarge)) {
    const text = await firstAnswer(api.url, [...POST, length], begun);
    assert(text.startsWith("HTTP/1.1 413"), text);
  }
  assertEquals((await db.sql`select from orders`).count, 0);
});

Deno.test("a body that does not come in time is answered with 408, declared or chunked, as JSON or as a form", async () => {
  const app = new Hono<ApiEnv>();
  app.post("/json", async (c) => c.json(await readJson(c, 200)));
  app.post("/form", async (c) => c.json((await readBody(c.req.raw, 200)).length));
  app.onError((error, c) =>
    problemResponse(c, error instanceof HttpProblem ? error : new HttpProblem(500, ""))
  );
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, app.fetch);
  const url = `http://127.0.0.1:${server.addr.port}`;
  const about = ["host: 127.0.0.1", "content-type: application/json"];
  const unfinished = { "content-length: 100": "{", "transfer-encoding: chunked": "1\r\n{\r\n" };
  for (const path of ["/json", "/form"]) {
    for (const [length, begun] of Object.entries(unfinished)) {
      const text = await firstAnswer(url, [`POST ${path} HTTP/1.1`, ...about, length], begun);
      assert(text.startsWith("HTTP/1.1 408"), `${path}, ${length}: ${text || "no answer"}`);
      assert(/connection: close/i.test(text), "nothing else is read from this connection");
    }
  }
  const inTime = await rawRequest(url, ["POST /json HTTP/1.1", ...about, "content-length: 2"], "{}");
  assertEquals(inTime.statuses, [200]);
});

Deno.test("hundreds of clients that send slowly, or nothing, hold up nobody else", async () => {
  await using db = await testSchema();
  await using api = serve(testApp(db));
  const starts = [
    "",
    "GET /hea",
    "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ",
    [...POST, "content-length: 100", "", "{"].join("\r\n"),
    [...POST, "transfer-encoding: chunked", "", "5\r\n{"].join("\r\n"),
  ];
  await using slow = new AsyncDisposableStack();
  for (let i = 0; i < 300; i++) {
    const connection = slow.use(await connectRaw(api.url));
    await connection.send(starts[i % starts.length] ?? "");
  }
  assertEquals((await rawRequest(api.url, GET)).statuses, [200]);
  const order = JSON.stringify(ORDER);
  const length = `content-length: ${order.length}`;
  assertEquals((await rawRequest(api.url, [...POST, length], order)).statuses, [201]);
  assertEquals((await db.sql`select from orders`).count, 1);
});
