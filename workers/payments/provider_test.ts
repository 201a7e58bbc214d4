import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { traceIdOf } from "../../shared/process/tracing.ts";
import { createFakeProvider, withProviderSpans } from "./provider.ts";

/** Nobody listens there: what is exported is dropped. */
const NOBODY = "http://127.0.0.1:1";

Deno.test("withProviderSpans() without a tracer is the provider that it wraps", () => {
  const provider = createFakeProvider({ latencyMs: 0 });
  assertEquals(withProviderSpans(provider, null) === provider, true);
});

Deno.test("a provider's host gets the trace context of the message that asks, spans or not", async () => {
  const given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  assertEquals(await receivedByHost(given, {}), given);
  const traced = await receivedByHost(given, {
    OTEL_DENO: "true",
    OTEL_TRACES_SAMPLER: "parentbased_always_on",
  });
  assertEquals(traceIdOf(traced), traceIdOf(given));
  assert(traced !== given);
});

/** What `testdata/charge_over_http.ts` prints. */
async function receivedByHost(traceparent: string, env: Record<string, string>): Promise<string> {
  const script = fileURLToPath(new URL("testdata/charge_over_http.ts", import.meta.url));
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "--no-prompt", "--allow-net=127.0.0.1", script, traceparent],
    env: {
      OTEL_DENO: "false",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: NOBODY,
      ...env,
    },
  }).output();
  return new TextDecoder().decode(stdout).trim();
}
