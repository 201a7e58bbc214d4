import { assertEquals } from "@std/assert";
import { addressOf, childEnvironment, denoArguments, joinAddress, serviceName } from "./child_command.ts";
import { API } from "./processes.ts";

Deno.test("childEnvironment() passes on OrderFlow's variables and Deno's, and nothing else", () => {
  const inherited = {
    PATH: "/bin",
    HOME: "/home/me",
    DENO_DIR: "/cache",
    OPS_TOKEN: "sixteen characters",
    PORT: "8000",
    HOST: "", // empty counts as unset
    AWS_SECRET_ACCESS_KEY: "secret",
    PGPASSWORD: "secret",
  };
  assertEquals(childEnvironment(inherited, { PORT: "8001", DATABASE_URL: "postgres://x" }), {
    PATH: "/bin",
    HOME: "/home/me",
    DENO_DIR: "/cache",
    OPS_TOKEN: "sixteen characters",
    PORT: "8001",
    DATABASE_URL: "postgres://x",
    LOG_FORMAT: "pretty",
    ORDERFLOW_SUPERVISED: "1",
  });
});

Deno.test("childEnvironment() leaves a LOG_FORMAT that somebody chose", () => {
  assertEquals(childEnvironment({ LOG_FORMAT: "json" }, {}).LOG_FORMAT, "json");
});

Deno.test("childEnvironment() passes on what Deno's telemetry is told, serviceName() says whose it is", () => {
  const otel = { OTEL_DENO: "true", OTEL_EXPORTER_OTLP_PROTOCOL: "console", OTEL_SERVICE_NAME: "shop" };
  const { LOG_FORMAT: _, ORDERFLOW_SUPERVISED: __, ...passed } = childEnvironment(otel, serviceName(API));
  assertEquals(passed, { ...otel, OTEL_SERVICE_NAME: "orderflow-api" });
});

Deno.test("addressOf() knows the ports of the protocols", () => {
  const urls = [
    "postgres://u:p@127.0.0.1:5433/x",
    "postgresql://db.example/x",
    "amqp://localhost",
    "amqps://mq.example",
  ];
  assertEquals(urls.map(addressOf), [
    "127.0.0.1:5433",
    "db.example:5432",
    "localhost:5672",
    "mq.example:5671",
  ]);
  assertEquals(addressOf("amqp://[::1]:5673"), "[::1]:5673");
});

Deno.test("joinAddress() puts an IPv6 address in brackets", () => {
  assertEquals([joinAddress("0.0.0.0", 80), joinAddress("::", 80)], ["0.0.0.0:80", "[::]:80"]);
});

Deno.test("denoArguments() runs a process under its permission set, with the addresses told", () => {
  assertEquals(
    denoArguments(API, ["a:1", "[::1]:2"]).join(" "),
    "run -q --no-prompt --cached-only --v8-flags=--max-semi-space-size=8,--max-old-space-size=256 -P=api --allow-net=a:1,[::1]:2 api/main.ts",
  );
});
