import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../shared/config.ts";
import { metricsPorts } from "./metrics_ports.ts";
import { CONSUMERS, RELAY } from "./processes.ts";

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
