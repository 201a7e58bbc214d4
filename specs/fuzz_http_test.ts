import fc from "fast-check";
import pLimit from "p-limit";
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { runAudit } from "../shared/ops/audit.ts";
import { withTimeout } from "../shared/process/stop.ts";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { bundlePage } from "../workers/dev/watch_sources.ts";
import { FUZZ_RUNS, withFuzzSeed } from "./support/bad_messages.ts";
import { type FuzzedRequest, fuzzedRequest, rawRequest } from "./support/fuzz_requests.ts";
import { readLedger, settled } from "./support/ledger.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const REQUESTS = 0.9 * FUZZ_RUNS;
const RAW_REQUESTS = 0.1 * FUZZ_RUNS;
/** Enough to have requests meet, and few enough that none waits for long: strange ones are asked about here, not many. */
const CONNECTIONS = 12;
/** How long a raw connection may stay open after its last byte, in milliseconds. */
const RAW_MS = 5000;

/** The orders that were answered with 201, with their courses. */
type Placed = Map<string, string>;

Deno.test("fuzzed requests are each answered as they should, and neither a process nor an order beside them suffers", async () => {
  await withFuzzSeed(async (seed) => {
    assertEquals(await bundlePage({ root: ROOT, env: Deno.env.toObject() }), null); // "/" is fuzzed as well
    await using stack = await startStack({}, { apart: [] });
    const placed: Placed = new Map();
    const requests = fc.sample(fuzzedRequest, { seed, numRuns: REQUESTS });
    const raw = fc.sample(rawRequest, { seed, numRuns: RAW_REQUESTS });
    const failures: string[] = [];
    const tryOne = async (shown: () => string, ask: () => Promise<void>): Promise<void> => {
      await ask().catch((error) =>
        failures.push(`${shown()}\n→ ${error instanceof Error ? error.message : error}`)
      );
    };
    await Promise.all([
      pLimit(CONNECTIONS).map(
        requests,
        (request) => tryOne(() => shown(request), () => ask(stack, request, placed)),
      ),
      pLimit(8).map(
        raw,
        (bytes) => tryOne(() => String.fromCharCode(...bytes.slice(0, 500)), () => askRaw(stack, bytes)),
      ),
    ]);
    assertEquals(failures.slice(0, 10), [], `${failures.length} requests were answered wrongly`);
    await settled(stack);
    await checkEffects(stack, placed);
    // Nobody starts a process again here: one that gave up would answer with another code than that of a clean stop.
    const codes = await Promise.all(stack.processes.map(async (name) => `${name} ${await stack.stop(name)}`));
    assertEquals(codes, stack.processes.map((name) => `${name} 0`), "processes that died");
  });
});

async function ask({ url }: TestStack, request: FuzzedRequest, placed: Placed): Promise<void> {
  const { expects, method, path, headers, body } = request;
  const response = await fetch(`${url}${path}`, {
    method,
    headers,
    body: body && new Uint8Array(body),
    redirect: "manual",
  });
  const text = await response.text();
  const about = `${response.status} ${text.slice(0, 500)}`;
  checkCorrelationId(headers["x-correlation-id"], response);
  const isPage = ["GET", "HEAD"].includes(method.toUpperCase()) && new URL(response.url).pathname === "/"; // for people, in words
  if (response.status >= 400 && !isPage) checkProblem(response, method === "HEAD" ? null : text);
  const isBusy = response.status === 503 && response.headers.has("retry-after") &&
    (path.startsWith("/ops/audit") ||
      isPage &&
        (method.toUpperCase() === "HEAD" || text.includes("<h1>The database does not answer in time</h1>")));
  assert(response.status < 500 || isBusy, about);
  if (expects === "order") assertEquals(response.status, 201, about);
  if (expects === "refusal") assert([400, 413, 415].includes(response.status), about);
  if (response.status === 201) {
    const { id, courseId } = JSON.parse(text);
    assertEquals(response.headers.get("location"), `/orders/${id}`);
    placed.set(id, courseId);
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

/** Writes bytes to the API's socket, and reads what comes back: no 5xx, and the connection ends. */
async function askRaw({ url }: TestStack, bytes: Uint8Array): Promise<void> {
  const socket = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(url).port) });
  const answer: number[] = [];
  const talk = async () => {
    const chunk = new Uint8Array(16_384);
    const writing = (async () => {
      for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
      await socket.closeWrite();
    })();
    await writing.catch(() => {}); // the API may hang up before it has read all of it
    for (let n = await socket.read(chunk); n !== null; n = await socket.read(chunk)) {
      answer.push(...chunk.subarray(0, n));
    }
  };
  let ended = false;
  const talking = talk().catch(() => {}).then(() => ended = true); // a reset is an end as well
  await withTimeout(RAW_MS, talking);
  const inTime = ended;
  socket.close();
  await talking;
  const statuses = [...String.fromCharCode(...answer).matchAll(/HTTP\/1\.[01] (\d{3})/g)].map(([, s]) =>
    Number(s)
  );
  assertEquals(statuses.filter((status) => status >= 500), []);
  assert(inTime, `still open after ${RAW_MS} ms`);
}

const OUTCOMES: Readonly<Record<string, string>> = {
  [RESERVED_COURSES.success]: "COMPLETED",
  [RESERVED_COURSES.paymentFailure]: "PAYMENT_FAILED",
  [RESERVED_COURSES.enrollmentFailure]: "REFUNDED",
};

/** What was answered with 201 is there, ended right, and nothing else is. */
async function checkEffects({ db, broker }: TestStack, placed: Placed): Promise<void> {
  const orders = await db.sql<{ id: string; status: string }[]>`select id, status from orders order by id`;
  assertEquals(
    orders.map(({ id, status }) => `${id} ${status}`),
    [...placed].map(([id, courseId]) => `${id} ${OUTCOMES[courseId]}`).toSorted(),
  );
  const count = (outcome: string) => orders.filter(({ status }) => status === outcome).length;
  const [completed, declined, refunded] = [count("COMPLETED"), count("PAYMENT_FAILED"), count("REFUNDED")];
  assert(completed > 0 && declined > 0 && refunded > 0, "too few good orders to prove anything");
  const { payments, enrollments, notifications, deadLetters } = await readLedger(db.sql);
  assertEquals({ payments, enrollments, notifications, deadLetters }, {
    payments: { FAILED: declined, REFUND_SUCCEEDED: refunded, SUCCEEDED: completed },
    enrollments: { FAILED: refunded, GRANTED: completed },
    notifications: { ORDER_COMPLETED: completed, ORDER_REFUNDED: refunded, PAYMENT_FAILED: declined },
    deadLetters: 0,
  });
  const { checks } = await runAudit(db.as("orderflow_ops"), broker.topology, { graceSeconds: 0 });
  assertEquals(checks.filter(({ count }) => count > 0), []);
}

function shown({ method, path, headers, body }: FuzzedRequest): string {
  const start = body ? new TextDecoder().decode(body.slice(0, 100)) : "";
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value.slice(0, 60)}`).join(", ");
  return `${method} ${path.slice(0, 200)} {${fields}} ${start}`;
}
