// Charges over HTTP with whatever tracer this process has, and prints the `traceparent` that the provider's host got.

import { findTracer } from "../../../shared/process/tracing.ts";
import { type PaymentProvider, withProviderSpans } from "../provider.ts";

const [traceparent = ""] = Deno.args;
const host = Deno.serve(
  { hostname: "127.0.0.1", port: 0, onListen: () => {} },
  (request) => new Response(request.headers.get("traceparent")),
);
const provider: PaymentProvider = {
  async charge({ traceparent }) {
    await Promise.resolve(); // as a provider that has something to prepare first
    const headers: HeadersInit = traceparent === null ? {} : { traceparent };
    const response = await fetch(`http://127.0.0.1:${host.addr.port}`, { headers });
    return { kind: "charged", reference: await response.text() };
  },
  refund: () => Promise.reject(new Error("not asked")),
};
const metadata = { orderId: "o", courseId: "c", correlationId: "x" };
const request = { idempotencyKey: "k", amount: "1.00", metadata, traceparent };
const traced = withProviderSpans(provider, findTracer());
const charged = await traced.charge(request, new AbortController().signal);
console.log(charged.kind === "charged" ? charged.reference : charged.reason);
await host.shutdown();
