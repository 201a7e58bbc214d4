// HTTP requests that nobody should send, over every route of `/openapi.json`, and bytes that are no HTTP, or hardly.

import { Buffer } from "node:buffer";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import pLimit from "p-limit";
import { assert, assertEquals } from "@std/assert";
import { RESERVED_COURSES, SCENARIO_USER } from "../shared/scenarios.ts";
import { bundlePage } from "../workers/dev/watch_sources.ts";
import {
  badBody,
  FUZZ_RUNS,
  type Generator,
  jsonOf,
  nastyText,
  withFuzzSeed,
  wrongValue,
} from "./support/bad_messages.ts";
import { balance, ledgerOf, readBooks, readLedger, settled, violations } from "./support/ledger.ts";
import type { Course } from "./support/place_orders.ts";
import { connectRaw } from "./support/http.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

const REQUESTS = 0.9 * FUZZ_RUNS;
const RAW_REQUESTS = 0.1 * FUZZ_RUNS;
/** Enough to have requests meet, and few enough that none waits for long: strange ones are asked about here, not many. */
const CONNECTIONS = 12;
/** How long a raw connection may stay open after its last byte, in milliseconds. */
const RAW_MS = 5000;

/** A request for `fetch`, and whether it must be answered with an order, or with an error that says what is wrong. */
interface FuzzedRequest {
  readonly expects: "order" | "refusal" | "anything";
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | null;
}

/** The courses of orders that were answered with 201, by the orders' ids. */
type Placed = Map<string, Course>;

Deno.test("fuzzed requests are each answered as they should, and neither a process nor an order beside them suffers", async () => {
  await withFuzzSeed(async (seed) => {
    assertEquals(await bundlePage(Deno.env.toObject()), null); // "/" is fuzzed as well
    await using stack = await startStack({}, { apart: [] });
    const placed: Placed = new Map();
    const requests = fc.sample(fuzzedRequest(await readRoutes(stack)), { seed, numRuns: REQUESTS });
    const raw = fc.sample(rawRequest, { seed, numRuns: RAW_REQUESTS });
    const failures: string[] = [];
    const tryOne = async (shown: string, asking: Promise<void>): Promise<void> => {
      await asking.catch((error) =>
        failures.push(`${shown}\n→ ${error instanceof Error ? error.message : error}`)
      );
    };
    await Promise.all([
      pLimit(CONNECTIONS).map(requests, (request) => tryOne(shown(request), ask(stack, request, placed))),
      pLimit(8).map(raw, (text) => tryOne(text.slice(0, 500), askRaw(stack, text))),
    ]);
    assertEquals(failures.slice(0, 10), [], `${failures.length} requests were answered wrongly`);
    await settled(stack);
    await checkEffects(stack, placed);
    // Nobody starts a process again here: one that gave up would answer with another code than that of a clean stop.
    const codes = await Promise.all(stack.processes.map(async (name) => `${name} ${await stack.stop(name)}`));
    assertEquals(codes, stack.processes.map((name) => `${name} 0`), "processes that died");
  });
});

/** A stream without end, and a form that has every wrong guess wait. */
const LEFT_OUT = ["/ops/live", "/login"];
/** They read a lot, or wait: asked less often, so that the rest gets its turn. */
const COSTLY = /^\/(metrics|ops\/(debug|outbox\/tick|audit|status|replays.*)|docs.*|)$/;

type Route = Awaited<ReturnType<typeof readRoutes>>[number];

/** Each route, with the names of its parameters in the query. */
async function readRoutes({ url }: TestStack) {
  type Operation = { parameters: { name: string; in: string }[] };
  const { paths }: { paths: Record<string, Record<string, Operation>> } =
    await (await fetch(`${url}/openapi.json`)).json();
  return Object.entries(paths).filter(([path]) => !LEFT_OUT.includes(path)).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, { parameters }]) => {
      const query = parameters.filter((one) => one.in === "query").map(({ name }) => name);
      return { method: method.toUpperCase(), path, query };
    })
  );
}

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND", "get", "X-Y"];

/** Pieces of a URL as they stand there, well encoded or not. */
const piece: Generator<string> = fc.oneof(
  fc.uuid(),
  nastyText.map((text) => encodeURIComponent(text.toWellFormed())),
  fc.constantFrom(..."% %0 %zz %E0%A4%A %FF %00 %2e%2e .. %2F // ;a=b * + {id}".split(" ")),
  fc.constantFrom(..."0 1 100 101 -1 1e2 0x10 1.5 Infinity NaN %201 true OPEN null".split(" ")),
  fc.integer({ min: 1, max: 8000 }).map((n) => "a".repeat(n)),
);

type Target = Pick<FuzzedRequest, "method" | "path">;

/** A route with its own method or another one, and pieces in the places of ids and parameters. */
function targetOf(routes: readonly Route[]): Generator<Target> {
  return fc.constantFrom(...routes).chain(({ method, path, query }) =>
    fc.record({
      method: fc.oneof({ weight: 4, arbitrary: fc.constant(method) }, fc.constantFrom(...METHODS)),
      path: fc.tuple(
        piece,
        fc.array(fc.tuple(fc.constantFrom("__proto__", ...query), piece), { maxLength: 3 }),
      )
        .map(([id, pairs]) => {
          const search = pairs.map(([name, value]) => `${name}=${value}`).join("&");
          return path.replaceAll(/\{\w+\}/g, () => id) + (search && `?${search}`);
        }),
    })
  );
}

const nowhere: Generator<Target> = fc.record({
  method: fc.constantFrom(...METHODS),
  path: fc.array(piece, { maxLength: 5 }).map((pieces) => `/${pieces.join("/")}`)
    .filter((path) => !LEFT_OUT.includes(path)),
});

/** What a header can carry: the client refuses all else itself. */
const headerValue: Generator<string> = fc.oneof(
  nastyText.map((text) => text.replaceAll(/[^\x20-\x7e\xa0-\xff]/g, "\xff")),
  fc.string({ maxLength: 300 }),
  fc.integer({ min: 100, max: 4000 }).map((n) => "x".repeat(n)),
  fc.constantFrom("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-00-00-00", '"', '"\\x"'),
);

const headers: Generator<Record<string, string>> = fc.record({
  "content-type": fc.oneof(
    { weight: 4, arbitrary: fc.constant("application/json") },
    fc.constantFrom("", "text/plain", "application/json; charset=utf-16", "multipart/form-data"),
    headerValue,
  ),
  "x-correlation-id": headerValue,
  "idempotency-key": fc.oneof(headerValue, fc.constantFrom("key-1", "key-2", '"key-1"')),
  "traceparent": headerValue,
  "accept": headerValue,
  "accept-encoding": fc.constantFrom("gzip", "identity;q=0", "br;q=2", "*"),
  "authorization": headerValue,
  "if-none-match": headerValue,
  "range": fc.constantFrom("bytes=0-0", "bytes=-1"),
  "sec-fetch-site": fc.constantFrom("cross-site", "same-origin", "?"),
  "x-http-method-override": fc.constantFrom("DELETE", "POST"),
  "x-forwarded-for": headerValue,
}, { requiredKeys: [] });

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const goodOrder = fc.record({
  userId: fc.constant(SCENARIO_USER),
  courseId: fc.constantFrom(...Object.values(RESERVED_COURSES)),
  amount: fc.constantFrom("49.90", "1", "0.01", "9999999999.99"),
});
const goodBody = goodOrder.map((order) => bytes(JSON.stringify(order)));
/** An order with one field wrong or missing. */
const badOrder = fc.tuple(
  goodOrder,
  fc.constantFrom("userId", "courseId", "amount"),
  fc.oneof(wrongValue, nastyText.filter((text) => !/^[\d.]+$/.test(text)), fc.constant(undefined)),
).map(([order, field, value]) => bytes(jsonOf({ ...order, [field]: value })));
const badBodies = fc.oneof(badOrder, badBody(["order.created"]));
/** What `/ops` takes as a selection of dead letters, with nasty texts in it. */
const opsBody = fc.record(
  { because: nastyText, reason: nastyText, consumer: nastyText, orderId: nastyText },
  { requiredKeys: [] },
).map((selection) => bytes(jsonOf(selection)));

/** A request over any route and method; one in 25 is a good order. */
function fuzzedRequest(routes: readonly Route[]): Generator<FuzzedRequest> {
  const json = fc.constant({ "content-type": "application/json" });
  const jsonAnd = headers.map((more) => ({ "content-type": "application/json", ...more }));
  const target = fc.oneof(
    { weight: 40, arbitrary: targetOf(routes.filter(({ path }) => !COSTLY.test(path))) },
    { weight: 1, arbitrary: targetOf(routes.filter(({ path }) => COSTLY.test(path))) },
    { weight: 2, arbitrary: nowhere },
  );
  const anything = fc.tuple(target, fc.oneof(json, headers), fc.oneof(badBodies, opsBody)).map((
    [{ method, path }, headers, body],
  ) => {
    const hasNone = ["GET", "HEAD"].includes(method.toUpperCase());
    return { expects: "anything" as const, method, path, headers, body: hasNone ? null : body };
  });
  const post = (
    expects: FuzzedRequest["expects"],
    headers: Generator<Record<string, string>>,
    bodies: Generator<Uint8Array>,
  ) =>
    fc.tuple(headers, bodies).map(([headers, body]) => {
      return { expects, method: "POST", path: "/orders", headers, body };
    });
  return fc.oneof(
    { weight: 1, arbitrary: post("order", json, goodBody) },
    { weight: 8, arbitrary: post("refusal", jsonAnd, badBodies) },
    { weight: 1, arbitrary: post("anything", jsonAnd, goodBody) },
    { weight: 15, arbitrary: anything },
  );
}

async function ask({ url }: TestStack, request: FuzzedRequest, placed: Placed): Promise<void> {
  const { expects, method, path, headers, body } = request;
  const init = { method, headers, body: body && new Uint8Array(body), redirect: "manual" } as const;
  const response = await fetch(`${url}${path}`, init);
  const bytes = Buffer.from(await response.arrayBuffer());
  const text = (bytes[0] === 0x1f ? gunzipSync(bytes) : bytes).toString(); // who asks for gzip by hand unpacks it
  const { status } = response;
  const about = `${status} ${text.slice(0, 500)}`;
  checkCorrelationId(headers["x-correlation-id"], response);
  const isPage = ["GET", "HEAD"].includes(method.toUpperCase()) && new URL(response.url).pathname === "/"; // in words
  if (status >= 400 && !isPage) checkProblem(response, method === "HEAD" ? null : text);
  const isBusy = status === 503 && response.headers.has("retry-after") &&
    (isPage || path.startsWith("/ops/audit"));
  assert(status < 500 || isBusy, about);
  if (expects === "order") assertEquals(status, 201, about);
  if (expects === "refusal") assert([400, 413, 415].includes(status), about);
  if (status === 201 && /^\/(orders$|ops\/scenarios\/)/.test(path)) {
    const { id, courseId } = JSON.parse(text);
    assertEquals(response.headers.get("location"), `/orders/${id}`);
    placed.set(id, COURSES.get(courseId) ?? "success");
  }
}

/** A caller's correlation id that can be one is on the answer; on any other answer there is a new one. */
function checkCorrelationId(given: string | undefined, response: Response): void {
  const answered = response.headers.get("x-correlation-id") ?? "";
  assert(/^[\x21-\x7e]{1,128}$/.test(answered), `the correlation id of the answer is ${answered}`);
  const trimmed = given?.trim();
  if (trimmed && /^[\x21-\x7e]{1,128}$/.test(trimmed)) assertEquals(answered, trimmed);
}

/** RFC 9457, and what the project adds to it. `text` is null where an answer has no body. */
function checkProblem(response: Response, text: string | null): void {
  const about = `${response.status} ${text}`;
  assertEquals(response.headers.get("content-type"), "application/problem+json", about);
  if (response.status === 405) assert(response.headers.get("allow"), about);
  if (text === null) return;
  const problem = JSON.parse(text);
  assertEquals([problem.type, problem.status], ["about:blank", response.status], about);
  for (const name of ["title", "detail", "instance"]) assertEquals(typeof problem[name], "string", about);
  if (!/^The (body|query|path) of the request is not valid/.test(problem.detail)) return;
  assert(problem.errors.length > 0, about);
  for (const { field, in: part, detail } of problem.errors) {
    assertEquals([typeof field, typeof detail], ["string", "string"], about);
    assert(["body", "query", "path"].includes(part), about);
  }
}

const HEAD_LINES = [
  "GET / HTTP/1.1",
  "GET /orders HTTP/1.1",
  "POST /orders HTTP/1.1",
  "GET /ops/debug HTTP/1.0",
  "GET /healthz HTTP/9.9",
  "GET  /healthz  HTTP/1.1",
  "GET http://elsewhere.example/ops/debug HTTP/1.1",
  "GET /or\0ders HTTP/1.1",
  "GET /\xff\xfe HTTP/1.1",
  "CONNECT elsewhere.example:443 HTTP/1.1",
  "OPTIONS * HTTP/1.1",
  "PRI * HTTP/2.0",
  "HTTP/1.1 200 OK",
  "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
];
const HEADER_LINES = [
  ...["host: 127.0.0.1", "host: elsewhere.example", "host: a b", "host: [::1", "host: %00:99999", "host:"],
  ...["content-length: 10", "content-length: -1", "content-length: 99999999999999999999"],
  ...["transfer-encoding: chunked", "transfer-encoding: gzip, chunked", "content-type: application/json"],
  ...["connection: upgrade", "upgrade: websocket", "upgrade: h2c", "expect: 100-continue"],
  ...["no colon here", ": no name", " folded: line", "x-correlation-id: \0", "x\x00y: z"],
];
const RAW_BODIES = ["", "{}", "5\r\nhello\r\n0\r\n\r\n", "zz\r\n", "ffffffffffffffffff\r\n", '{"userId":1}'];
const HEALTH = "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n";

/** What is written to a socket as it is, a byte for each character. None of it makes an order. */
const rawRequest: Generator<string> = fc.oneof(
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 2000 }).map((bytes) => String.fromCharCode(...bytes)) },
  {
    weight: 6,
    arbitrary: fc.tuple(
      fc.constantFrom(...HEAD_LINES),
      fc.array(fc.constantFrom(...HEADER_LINES), { maxLength: 6 }),
      fc.constantFrom("\r\n", "\n", "\r"),
      fc.constantFrom(...RAW_BODIES),
    ).map(([head, lines, end, body]) => [head, ...lines, "", body].join(end)),
  },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 1, max: 400 }).map((n) => `${HEALTH}${"x-many: y\r\n".repeat(n)}\r\n`),
  },
  { weight: 1, arbitrary: fc.nat(1_000_000).map((n) => `${HEALTH}x-large: ${"y".repeat(n)}\r\n\r\n`) },
);

/** Writes bytes to the API's socket, and reads what comes back: no 5xx, and the connection ends. */
async function askRaw({ url }: TestStack, text: string): Promise<void> {
  await using connection = await connectRaw(url);
  await connection.send(text);
  await connection.finish();
  const { ended, statuses } = await connection.read(RAW_MS);
  assertEquals(statuses.filter((status) => status >= 500), []);
  assert(ended, `still open after ${RAW_MS} ms`);
}

const COURSES = new Map<string, Course>(
  Object.entries(RESERVED_COURSES).map(([course, id]) => [id, course as Course]),
);

/** What was answered with 201 is there, ended right, and nothing else is. */
async function checkEffects(stack: TestStack, accepted: Placed): Promise<void> {
  const books = balance({ accepted, answeredTwice: 0 }, await readBooks(stack.db.sql));
  assertEquals(books, { lost: 0, duplicated: 0, stuck: 0, wrong: 0 });
  const counts = Object.fromEntries([...COURSES.values()].map((course) => {
    return [course, [...accepted.values()].filter((one) => one === course).length];
  }));
  assert(Object.values(counts).every((count) => count > 0), "too few good orders to prove anything");
  assertEquals(await readLedger(stack.db.sql), ledgerOf(counts));
  assertEquals(await violations(stack), []);
}

function shown({ method, path, headers, body }: FuzzedRequest): string {
  const start = body ? new TextDecoder().decode(body.slice(0, 100)) : "";
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value.slice(0, 60)}`).join(", ");
  return `${method} ${path.slice(0, 200)} {${fields}} ${start}`;
}
