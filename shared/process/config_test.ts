import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  ConfigError,
  readConfig,
  TOPOLOGY_VARIABLES,
  topologyOf,
  type VariableName,
  VARIABLES,
} from "./config.ts";
import { QUEUES } from "../topology.ts";

const from = (env: Record<string, string>) => (name: string) => env[name];

Deno.test("readConfig() gives defaults for what is unset or empty", () => {
  const config = readConfig(["PORT", "HOST", "LOG_LEVEL", "OPS_TOKEN"], from({ PORT: "", HOST: "  " }));
  assertEquals(config, { PORT: 8000, HOST: "127.0.0.1", LOG_LEVEL: "info", OPS_TOKEN: undefined });
});

Deno.test("readConfig() names every variable at fault and what it takes, and no value", () => {
  const env = { PORT: "65536", AMQP_URL: "http://user:secret@x", LOG_FORMAT: "xml" };
  const error = assertThrows(
    () => readConfig(["PORT", "AMQP_URL", "LOG_FORMAT", "DATABASE_URL"], from(env)),
    ConfigError,
  );
  assertStringIncludes(error.message, "PORT must be a whole number from 0 to 65535");
  assertStringIncludes(error.message, "AMQP_URL must be a URL such as amqp://");
  assertStringIncludes(error.message, "LOG_FORMAT must be json or pretty");
  assertStringIncludes(error.message, "DATABASE_URL is not set");
  assertEquals(error.message.includes("secret"), false);
});

Deno.test("readConfig() listens at addresses alone, not at a machine's name that a shell has set", () => {
  for (const host of ["localhost", "0.0.0.0", "::1", "::"]) {
    assertEquals(readConfig(["HOST"], from({ HOST: host })), { HOST: host });
  }
  for (const host of ["x86_64-conda-linux-gnu", "penguin", "127.0.0.1:8000", "[::1]"]) {
    const error = assertThrows(() => readConfig(["HOST"], from({ HOST: host })), ConfigError);
    assertStringIncludes(error.message, "HOST must be localhost or an IP address");
  }
});

Deno.test("readConfig() refuses a token that no header can carry", () => {
  const error = assertThrows(
    () => readConfig(["OPS_TOKEN"], from({ OPS_TOKEN: "ключ".repeat(4) })),
    ConfigError,
  );
  assertStringIncludes(error.message, "OPS_TOKEN must have at least 16 characters, all ASCII");
});

Deno.test("readConfig() takes one AMQP_URL or those of several nodes, each of them whole", () => {
  const several = "amqp://u:p@a:5672,amqp://u:p@b:5672";
  assertEquals(readConfig(["AMQP_URL"], from({ AMQP_URL: several })), { AMQP_URL: several });
  for (const wrong of ["amqp://a:5672,b:5672", "amqp://a,http://b"]) {
    const error = assertThrows(() => readConfig(["AMQP_URL"], from({ AMQP_URL: wrong })), ConfigError);
    assertStringIncludes(error.message, "or several of them, with commas between");
  }
});

Deno.test("readConfig() refuses a URL with a lone percent sign, which nobody can decode", () => {
  for (
    const [name, url] of [["DATABASE_URL", "postgres://u:p%zz@h/x"], ["AMQP_URL", "amqp://u:50%@h"]] as const
  ) {
    const error = assertThrows(() => readConfig([name], from({ [name]: url })), ConfigError);
    assertEquals(
      error.message,
      `Cannot start: ${name} must have each % of a user or password written as %25`,
    );
  }
  assertEquals(readConfig(["AMQP_URL"], from({ AMQP_URL: "amqp://u:50%25@h" })), {
    AMQP_URL: "amqp://u:50%25@h",
  });
});

Deno.test("topologyOf() takes names from the environment and bindings from the topology", () => {
  const env = { RABBITMQ_EXCHANGE: "other", RABBITMQ_ORDERS_PAYMENT_EVENTS_QUEUE: "mine" };
  const topology = topologyOf(readConfig(TOPOLOGY_VARIABLES, from(env)));
  assertEquals(topology.exchange, "other");
  assertEquals(topology.queues.ordersPaymentEvents, {
    name: "mine",
    bindings: ["payment.succeeded", "payment.failed"],
  });
  assertEquals(topology.queues.paymentsOrderCreated.name, QUEUES.paymentsOrderCreated.name);
});

Deno.test(".env.example lists every variable, and else only those of Deno's telemetry", async () => {
  const text = await Deno.readTextFile(new URL("../../.env.example", import.meta.url));
  const named = [...text.matchAll(/^#?\s?([A-Z][A-Z_]+)=/gm)].map(([, name]) => name as VariableName);
  const listed = named.filter((name) => !name.startsWith("OTEL_"));
  assertEquals(listed.toSorted(), (Object.keys(VARIABLES) as VariableName[]).toSorted());
});
