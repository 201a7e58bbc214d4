import { assertEquals, assertRejects } from "@std/assert";
import { ApiError, createApiClient } from "./api.ts";
import { openLetters, replayWords, sentWords } from "./send_again.tsx";

/** A client whose server answers each request with the next of `answers`, and what it was asked. */
function clientOf(...answers: (Response | Error)[]) {
  const asked: string[] = [];
  let signedOut = 0;
  const api = createApiClient((url, init) => {
    asked.push(`${init?.method} ${url} ${init?.body ?? ""}`.trim());
    const answer = answers.length > 1
      ? answers.shift()
      : answers[0]?.constructor === Error
      ? answers[0]
      : answers.shift();
    return answer instanceof Response ? Promise.resolve(answer) : Promise.reject(answer);
  }, () => signedOut++);
  return { api, asked, signedOut: () => signedOut };
}

Deno.test("the client asks for what is given, and leaves out what is empty", async () => {
  const { api, asked } = clientOf(Response.json({}), Response.json({}));
  await api.listOrders({ status: null, search: "", limit: 20 });
  await api.prepareReplay({ type: "order.created", consumer: "" });
  assertEquals(asked, ["GET /ops/orders?limit=20", 'POST /ops/replays {"type":"order.created"}']);
});

Deno.test("a refusal is told in the server's words, with the fields at fault", async () => {
  const problem = { detail: "Not valid.", errors: [{ field: "from", detail: "must be a time" }] };
  const { api } = clientOf(Response.json(problem, { status: 400 }));
  const error = await assertRejects(() => api.prepareReplay({}), ApiError, "Not valid. from must be a time");
  assertEquals(error.status, 400);
});

Deno.test("no answer, an answer without words and a lost sign-in are told apart", async () => {
  await assertRejects(() => clientOf(new Error("refused")).api.readAudit(), ApiError, "got no answer");
  const bare = clientOf(new Response("<html>", { status: 502 }));
  await assertRejects(() => bare.api.readAudit(), ApiError, "answered with 502");
  const { api, signedOut } = clientOf(Response.json({ detail: "Sign in." }, { status: 401 }));
  await assertRejects(() => api.readAudit(), ApiError, "Sign in.");
  assertEquals(signedOut(), 1);
});

Deno.test("faults that are off are no error", async () => {
  assertEquals(await clientOf(Response.json({}, { status: 404 })).api.listFaults(), null);
});

Deno.test("openLetters() freezes the open letters that match, as many as one dialog deals with", async () => {
  const asked: unknown[] = [];
  const endless = (query: object) => {
    asked.push(query);
    return Promise.resolve({ deadLetters: Array(100).fill({ id: "a" }), nextCursor: "next" });
  };
  const api = { listLetters: endless, readLetter: () => Promise.reject(new Error("not asked for")) };
  const filter = { consumer: "", reason: "r", type: "", orderId: "" };
  assertEquals((await openLetters(api, filter)).length, 1000);
  assertEquals(asked[1], { ...filter, state: "OPEN", limit: 100, cursor: "next" });
});

Deno.test("what was sent, and what a replay is of, is told in words", () => {
  assertEquals(
    sentWords({ redriven: 3, alreadyProcessed: 1, refused: [] }),
    "Sent 3 again, 1 processed already.",
  );
  const refused = [{ id: "a", error: "no route" }];
  assertEquals(
    sentWords({ redriven: 0, alreadyProcessed: 0, refused }),
    "Sent 0 again, 1 still open (no route).",
  );
  assertEquals(replayWords({ filter: { type: "order.created", consumer: "x" } }), "order.created for x");
  assertEquals(replayWords({ filter: { from: "t" } }), "events from t");
});
