import { assertEquals, assertRejects } from "@std/assert";
import { ApiError, createApiClient } from "./api.ts";

/** A client whose server gives the same answer to all requests, and what it was asked. */
function clientOf(answer: () => Response) {
  const asked: string[] = [];
  const api = createApiClient((url, init) => {
    asked.push(`${init?.method} ${url} ${init?.body ?? ""}`.trim());
    return new Promise((resolve) => resolve(answer()));
  }, () => asked.push("signed out"));
  return { api, asked };
}

const refused = (): never => {
  throw new Error("refused");
};

Deno.test("the client asks for what is given, leaves out what is empty, and takes faults that are off for none", async () => {
  const { api, asked } = clientOf(() => Response.json({}));
  await api.listOrders({ status: null, search: "", limit: 20 });
  await api.prepareEvents({ type: "order.created", consumer: "" });
  assertEquals(asked, ["GET /ops/orders?limit=20", 'POST /ops/replays {"type":"order.created"}']);
  assertEquals(await clientOf(() => Response.json({}, { status: 404 })).api.listFaults(), null);
});

Deno.test("a refusal is told in the server's words, with the fields at fault; no words, no answer and a lost sign-in are told apart", async () => {
  const problem = { detail: "Not valid.", errors: [{ field: "from", detail: "must be a time" }] };
  const signIn = { detail: "Sign in." };
  const cases: [() => Response, string, status: number | null, signsOut: boolean][] = [
    [() => Response.json(problem, { status: 400 }), "Not valid. from must be a time", 400, false],
    [() => new Response("<html>", { status: 502 }), "answered with 502", 502, false],
    [() => Response.json(signIn, { status: 401 }), "Sign in.", 401, true],
    [refused, "got no answer", null, false],
  ];
  for (const [answer, words, status, signsOut] of cases) {
    const { api, asked } = clientOf(answer);
    const error = await assertRejects(() => api.readAudit(), ApiError, words);
    assertEquals([error.status, asked.includes("signed out")], [status, signsOut]);
  }
});
