import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ApiError, createApiClient, problemOf } from "./api_client.ts";

interface Request {
  readonly path: string;
  readonly method: string | undefined;
  readonly body: unknown;
}

/** A client whose requests are noted, and answered with `answer`. */
function clientOf(answer: () => Response): { api: ReturnType<typeof createApiClient>; requests: Request[] } {
  const requests: Request[] = [];
  const api = createApiClient((path, init) => {
    const body = typeof init?.body === "string" ? JSON.parse(init.body) : undefined;
    requests.push({ path: String(path), method: init?.method, body });
    return Promise.resolve(answer());
  });
  return { api, requests };
}

const json = (value: unknown, status = 200) => () => Response.json(value, { status });

async function errorOf(attempt: Promise<unknown>): Promise<ApiError> {
  const error = await assertRejects(() => attempt);
  assert(error instanceof ApiError);
  return error;
}

Deno.test("a list is asked for with its filter alone, and its answer is checked and returned", async () => {
  const { api, requests } = clientOf(json({ events: [], nextCursor: null }));
  assertEquals(await api.listOutbox({ type: "order.created", orderId: "", published: false, cursor: null }), {
    events: [],
    nextCursor: null,
  });
  assertEquals(requests, [{
    path: "/ops/outbox?type=order.created&published=false",
    method: "GET",
    body: undefined,
  }]);
});

Deno.test("ids are escaped, and bodies hold only what was given", async () => {
  const { api, requests } = clientOf(json({ redriven: 1, alreadyProcessed: 0, refused: [] }));
  await api.redriveLetter("../x?y");
  await api.redriveLetters({ consumer: "payments.order-created.v1", reason: "", orderId: undefined });
  assertEquals(requests.map(({ path, body }) => [path, body]), [
    ["/ops/dead-letters/..%2Fx%3Fy/redrive", undefined],
    ["/ops/dead-letters/redrive", { consumer: "payments.order-created.v1" }],
  ]);
});

Deno.test("a problem becomes an error with its status, and its detail and fields in words", async () => {
  const { api } = clientOf(json({
    type: "about:blank",
    title: "Bad Request",
    status: 400,
    detail: "The query of the request is not valid.",
    instance: "/ops/outbox",
    errors: [{ field: "orderId", in: "query", detail: "must be a uuid" }],
  }, 400));
  const error = await errorOf(api.listOutbox());
  assertEquals([error.status, error.title], [400, "Bad Request"]);
  assertEquals(error.message, "The query of the request is not valid. orderId must be a uuid");
});

Deno.test("an error without a problem still says which status it had", async () => {
  const { api } = clientOf(() => new Response("<h1>Bad Gateway</h1>", { status: 502 }));
  const error = await errorOf(api.listOutbox());
  assertEquals(error.status, 502);
  assertStringIncludes(error.message, "502");
});

Deno.test("no answer at all is an error without a status that says what to do", async () => {
  const api = createApiClient(() => Promise.reject(new TypeError("Failed to fetch")));
  const error = await errorOf(api.readAudit());
  assertEquals(error.status, null);
  assertStringIncludes(error.message, "Try again");
});

Deno.test("an answer of another shape is an error that names the field", async () => {
  const { api } = clientOf(json({ events: [{ id: 7 }], nextCursor: null }));
  const error = await errorOf(api.listOutbox());
  assertEquals(error.title, "Unexpected answer");
  assertStringIncludes(error.message, "events.0.id");
});

Deno.test("problemOf() finds words for whatever was thrown", () => {
  assertEquals(problemOf(new Error("why")), "why");
  assertEquals(problemOf("why"), "why");
});
