import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
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
  const faults: [variable: VariableName, value: string | undefined, says: string][] = [
    ["DATABASE_URL", undefined, "is not set: it must be a URL such as postgres://"],
    ["PORT", "65536", "must be a whole number from 0 to 65535"],
    ["LOG_FORMAT", "xml", "must be json or pretty"],
    ["AMQP_URL", "http://user:secret@x", "must be a URL such as amqp://"],
    ["OPS_TOKEN", "ключ".repeat(4), "must have at least 16 characters, all ASCII"],
    // Not a machine's name that a shell has set.
    ...["x86_64-conda-linux-gnu", "penguin", "127.0.0.1:8000", "[::1]"].map((host): typeof faults[number] => {
      return ["HOST", host, "must be localhost or an IP address"];
    }),
    ["DATABASE_URL", "postgres://u:p%zz@h/x", "must have each % of a user or password written as %25"],
    ["AMQP_URL", "amqp://u:50%@h", "must have each % of a user or password written as %25"],
  ];
  for (const [variable, value = "", says] of faults) {
    const error = assertThrows(() => readConfig([variable], from({ [variable]: value })), ConfigError);
    assertStringIncludes(error.message, `${variable} ${says}`);
    assertEquals(error.message.includes("secret"), false);
  }
  const error = assertThrows(() => readConfig(["PORT", "LOG_FORMAT"], from({ PORT: "x", LOG_FORMAT: "x" })));
  assertMatch(error instanceof Error ? error.message : "", /^Cannot start: PORT must .*; LOG_FORMAT must /);
  for (const host of ["localhost", "0.0.0.0", "::1", "::"]) {
    assertEquals(readConfig(["HOST"], from({ HOST: host })), { HOST: host });
  }
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
