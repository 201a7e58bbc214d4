import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError, VARIABLES } from "../../shared/process/config.ts";
import { CONSUMERS, metricsPorts, readSettings, RELAY } from "./processes.ts";

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

Deno.test("metricsPorts() counts up from the first port, in the order of the processes", () => {
  const ports = metricsPorts(9464, () => 0);
  assertEquals(ports.get(RELAY), 9464);
  assertEquals(CONSUMERS.map((spec) => ports.get(spec)), [9465, 9466, 9467, 9468, 9469, 9470]);
});

Deno.test("metricsPorts() takes free ones for 0, and none where nobody asks for metrics", () => {
  let next = 20_000;
  assertEquals([...metricsPorts(0, () => next++).values()].at(-1), 20_006);
  assertEquals(metricsPorts(null, () => 0).size, 0);
});

Deno.test("metricsPorts() refuses a first port that leaves too few behind it", () => {
  assertEquals(metricsPorts(65_529, () => 0).size, 7);
  assertThrows(() => metricsPorts(65_530, () => 0), ConfigError, "METRICS_PORT is 65530");
});
