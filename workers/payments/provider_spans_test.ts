import { assertEquals } from "@std/assert";
import { createFakeProvider } from "./fake_provider.ts";
import { withProviderSpans } from "./provider_spans.ts";

Deno.test("withProviderSpans() without a tracer is the provider that it wraps", () => {
  const provider = createFakeProvider({ latencyMs: 0 });
  assertEquals(withProviderSpans(provider, null) === provider, true);
});
