import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { eventually } from "../support/eventually.ts";
import { dueAfter, openConnection, parseAnswer, sendOrders } from "./send_orders.ts";

/** Answers with what `answer` makes of the request's number, from 0. */
function startApi(answer: (n: number) => Response | Promise<Response>) {
  const bodies: unknown[] = [];
  const ports = new Set<number>();
  const onListen = () => {};
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen }, async (request, { remoteAddr }) => {
    assertEquals([request.method, new URL(request.url).pathname], ["POST", "/orders"]);
    if ("port" in remoteAddr) ports.add(remoteAddr.port);
    return await answer(bodies.push(await request.json()) - 1);
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  return { url, bodies, ports, [Symbol.asyncDispose]: () => server.shutdown() };
}

/** A server that writes `bytes` to each request and then closes, or leaves it at that. */
function startRaw(bytes: string, closes: boolean) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const connection of listener) {
      const buffer = new Uint8Array(4096);
      await connection.read(buffer);
      await connection.write(new TextEncoder().encode(bytes)).catch(() => {});
      if (!closes) await connection.read(buffer).catch(() => {}); // until the client has gone
      connection.close();
    }
  })();
  return {
    url: `http://127.0.0.1:${listener.addr.port}`,
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
    },
  };
}

const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const created = (n: number, headers: Record<string, string> = {}) =>
  Response.json({ id: idOf(n), status: "PENDING" }, { status: 201, headers });

Deno.test("as many orders as asked for, over every connection, and on new ones for those that close", async () => {
  await using api = startApi((n) => created(n, n % 5 === 4 ? { connection: "close" } : {}));
  const sent = await sendOrders(`${api.url}/`, { orders: 50, connections: 4 });
  assertEquals([...sent.sinceMs.keys()].sort(), Array.from({ length: 50 }, (_, n) => idOf(n)));
  assertEquals([api.bodies.length, sent.latenciesMs.length], [50, 50]);
  assert(api.ports.size > 4, "a closed connection is a new one");
});

Deno.test("at a rate nothing is sent before it is due, and waiting for a connection counts", async () => {
  const release = Promise.withResolvers<void>();
  await using api = startApi(async (n) => {
    if (n === 0) await release.promise; // holds up the only connection while the others fall due
    return created(n);
  });
  const sending = sendOrders(api.url, { orders: 4, connections: 1, rate: 50 });
  await eventually("the first request", () => api.bodies.length);
  const until = performance.now() + 100; // in which the others fall due
  await eventually("the others to be due", () => performance.now() > until);
  assertEquals(api.bodies.length, 1);
  release.resolve();
  const { sinceMs, latenciesMs, lateMs } = await sending;
  const [firstMs = 0, ...laterMs] = sinceMs.values();
  assertEquals(laterMs.map((ms) => Math.round(ms - firstMs)), [20, 40, 60]);
  assert(latenciesMs.slice(1).every((ms, i) => ms >= 95 - dueAfter(i + 1, 50)), latenciesMs.join());
  assert(lateMs > 0, `${lateMs}`);
});

Deno.test("the first wrong answer ends it, with what was answered", async () => {
  const refusal = { title: "no such course" };
  const cases: readonly [(n: number) => Response, string][] = [
    [() => Response.json(refusal, { status: 400 }), `answered 400: ${JSON.stringify(refusal)}`],
    [() => new Response("created", { status: 201 }), "answered with no order: created"],
    [() => created(7), "2 answers named only 1 different orders"],
  ];
  for (const [answer, why] of cases) {
    await using api = startApi(answer);
    await assertRejects(() => sendOrders(api.url, { orders: 2, connections: 1 }), Error, why);
  }
});

Deno.test("what is no HTTP, or none at all, is said and not waited for", async () => {
  const cases: readonly [string, boolean, string][] = [
    ["220 mail.example ESMTP\r\n\r\n", false, "is no status line"],
    ["HTTP/1.1 201 Created\r\ncontent-length: 10\r\n\r\n{}", true, "the connection ended after"],
    ["", true, "the connection ended after 0 bytes"],
    [`HTTP/1.1 201 Created\r\nx-large: ${"y".repeat(70_000)}`, false, "larger than 65536 bytes"],
  ];
  for (const [bytes, closes, why] of cases) {
    await using api = startRaw(bytes, closes);
    await assertRejects(() => sendOrders(api.url, { orders: 3, connections: 1 }), Error, why);
  }
  const send = (url: string) => () => sendOrders(url, { orders: 2, connections: 2 });
  await assertRejects(send("https://127.0.0.1"), Error, "http://");
  await assertRejects(send("http://127.0.0.1:1"), Error, "POST http://127.0.0.1:1/orders failed"); // nobody listens
});

Deno.test("an answer that does not come is waited for only so long", async () => {
  await using api = startRaw("HTTP/1.1 201 Created\r\n", false);
  using connection = openConnection(`${api.url}/orders`, "{}", 50);
  await assertRejects(() => connection.send(), Error, "there was no answer within 0.05 s");
  await assertRejects(() => connection.send(), Error, "there was no answer within 0.05 s"); // on a new one
});

Deno.test("an answer is there when its last byte is, and what is none, or one of unclear length, is refused", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const answer = (lines: readonly string[], body = "") => bytes(`${[...lines, "", ""].join("\r\n")}${body}`);
  const body = '{"id":"…"}';
  const length = `Content-Length: ${bytes(body).length}`;
  const whole = answer(["HTTP/1.1 200 OK", length, "Connection: Close"], body);
  for (let cut = 0; cut < whole.length; cut++) assertEquals(parseAnswer(whole.subarray(0, cut)), null);
  assertEquals(parseAnswer(whole), { status: 200, body, closes: true });
  const refused: readonly [Uint8Array, string][] = [
    [answer(["HTTP/1.0 200 OK", "content-length: 0"]), "is no status line"],
    [answer(["HTTP/1.1 100 Continue"]), "is no status line"],
    [answer(["HTTP/1.1 200 OK"]), "length is unclear"],
    [answer(["HTTP/1.1 200 OK", "content-length: 1", "content-length: 2"]), "length is unclear"],
    [answer(["HTTP/1.1 200 OK", "transfer-encoding: chunked"]), "length is unclear"],
    [answer(["HTTP/1.1 200 OK", "content-length: 1"], "ab"), "1 bytes follow"],
  ];
  for (const [given, why] of refused) assertThrows(() => parseAnswer(given), Error, why);
});
