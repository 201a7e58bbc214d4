import { assertEquals, assertRejects } from "@std/assert";
import { ApiError, createApiClient } from "./api.ts";

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
  await api.prepareEvents({ type: "order.created", consumer: "" });
  assertEquals(asked, ["GET /ops/orders?limit=20", 'POST /ops/replays {"type":"order.created"}']);
});

Deno.test("a refusal is told in the server's words, with the fields at fault", async () => {
  const problem = { detail: "Not valid.", errors: [{ field: "from", detail: "must be a time" }] };
  const { api } = clientOf(Response.json(problem, { status: 400 }));
  const error = await assertRejects(() => api.prepareEvents({}), ApiError, "Not valid. from must be a time");
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
