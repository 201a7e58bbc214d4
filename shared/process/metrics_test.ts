import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { Gauge } from "@prometheus-io/client";
import { testLog } from "../../specs/support/test_log.ts";
import { ConfigError } from "./config.ts";
import { startMetrics, type WorkerMetrics } from "./metrics.ts";

function start(port = 0, host = "127.0.0.1"): WorkerMetrics {
  const metrics = startMetrics("a-worker", { METRICS_HOST: host, METRICS_PORT: port }, testLog);
  if (!metrics) throw new Error("no metrics with a port");
  return metrics;
}

Deno.test("startMetrics() serves /metrics and /healthz to GET, and nothing else", async () => {
  const server = start();
  const get = async (path: string, method = "GET") => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`, { method });
    return {
      status: response.status,
      type: response.headers.get("content-type"),
      text: await response.text(),
    };
  };
  const figures = await get("/metrics?name=all");
  assertEquals([figures.status, figures.type], [200, "text/plain; version=0.0.4; charset=utf-8"]);
  assertStringIncludes(figures.text, 'orderflow_build_info{process="a-worker"');
  assertEquals((await get("/healthz")).text, '{"status":"up"}');
  for (const path of ["/", "/metrics/", "/healthz/x", "/orders"]) assertEquals((await get(path)).status, 404);
  assertEquals((await get("/metrics", "POST")).status, 405);
  await server.stop();
});

Deno.test("startMetrics() says whose port is taken, and what to set", async () => {
  const server = start();
  const error = assertThrows(
    () => start(server.port),
    ConfigError,
    `port ${server.port} of 127.0.0.1: it is taken`,
  );
  assertStringIncludes(error.message, "METRICS_PORT");
  assertThrows(
    () => start(0, "192.0.2.1"), // nobody's (RFC 5737)
    ConfigError,
    "METRICS_HOST",
  );
  await server.stop();
});

Deno.test("a client that sends or reads nothing cannot hold a process that stops", async () => {
  const server = start();
  const help = "more than fits the buffers between the two".repeat(200_000);
  new Gauge({ name: "long", help, registers: [server.registry] });
  const address = { hostname: "127.0.0.1", port: server.port };
  const connect = async (sent: string) => {
    const client = await Deno.connect(address);
    await client.write(new TextEncoder().encode(sent));
    return client;
  };
  using silent = await connect("");
  using halfway = await connect("GET /metrics HTTP/1.1\r\nhost: x\r\n");
  using deaf = await connect("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
  await deaf.read(new Uint8Array(1)); // its answer is under way
  await server.stop();
  for (const client of [silent, halfway]) {
    assertEquals(await client.read(new Uint8Array(1)).catch(() => null), null);
  }
});

Deno.test("startMetrics() listens nowhere without METRICS_PORT", () => {
  assertEquals(startMetrics("x", { METRICS_PORT: undefined, METRICS_HOST: "127.0.0.1" }, testLog), null);
});
