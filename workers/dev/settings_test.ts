import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../../shared/config.ts";
import { readSettings } from "./settings.ts";

Deno.test("readSettings() embeds what has no URL, and only that", () => {
  assertEquals(readSettings({}).databaseUrl, null);
  const settings = readSettings({ DATABASE_URL: " ", AMQP_URL: "amqp://mq.example", PORT: "0" });
  assertEquals([settings.databaseUrl, settings.amqpUrl, settings.port], [null, "amqp://mq.example", 0]);
});

Deno.test("readSettings() names every variable at fault, of whichever process", () => {
  const error = assertThrows(
    () => readSettings({ PORT: "x", CONSUMER_BATCH_SIZE: "0", AMQP_URL: "no" }),
    ConfigError,
  );
  for (const name of ["PORT", "CONSUMER_BATCH_SIZE", "AMQP_URL"]) assertStringIncludes(error.message, name);
});
