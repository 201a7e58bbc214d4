import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError, VARIABLES } from "../../shared/config.ts";
import { readSettings } from "./settings.ts";

Deno.test("readSettings() embeds what has no URL, and only that", () => {
  assertEquals(readSettings({}).databaseUrl, null);
  const settings = readSettings({ DATABASE_URL: " ", AMQP_URL: "amqp://mq.example", PORT: "0" });
  assertEquals([settings.databaseUrl, settings.amqpUrl, settings.port], [null, "amqp://mq.example", 0]);
});

Deno.test("readSettings() has faults on unless told, other than a process that is started by itself", () => {
  const enabled = (env: Record<string, string>) => readSettings(env).faultsEnabled;
  assertEquals([enabled({}), enabled({ FAULTS_ENABLED: "false" }), enabled({ FAULTS_ENABLED: "true" })], [
    true,
    false,
    true,
  ]);
  assertEquals(VARIABLES.FAULTS_ENABLED.parse(undefined), false);
});

Deno.test("readSettings() names every variable at fault, of whichever process", () => {
  const error = assertThrows(
    () => readSettings({ PORT: "x", CONSUMER_BATCH_SIZE: "0", AMQP_URL: "no" }),
    ConfigError,
  );
  for (const name of ["PORT", "CONSUMER_BATCH_SIZE", "AMQP_URL"]) assertStringIncludes(error.message, name);
});
