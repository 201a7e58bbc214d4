/**
 * The files of `specs/monitoring/` are whole in themselves; `specs/metrics_test.ts` compares them with running processes.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parse } from "yaml";
import { z } from "zod";
import { VARIABLES } from "../shared/process/config.ts";
import { metricsPorts, WORKERS } from "../workers/dev/processes.ts";
import { type Metric, problemsOf } from "./support/metrics.ts";
import { readExposition, readMonitoring, readPanels, readPromql, readRules } from "./support/monitoring.ts";

const COLUMNS = 24;

Deno.test("the dashboard's panels have ids of their own and lie beside one another", async () => {
  const panels = await readPanels();
  assertEquals(new Set(panels.map(({ id }) => id)).size, panels.length);
  const taken = new Map<string, string>();
  for (const { title, gridPos: { x, y, w, h }, targets } of panels) {
    assertEquals(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
    assert(x >= 0 && x + w <= COLUMNS, `${title} is wider than the dashboard`);
    for (let cell = 0; cell < w * h; cell++) {
      const place = `${x + cell % w} ${y + Math.floor(cell / w)}`;
      assertEquals(taken.get(place), undefined, `${title} lies on ${taken.get(place)}`);
      taken.set(place, title);
    }
  }
});

Deno.test("every alert has a name of its own and a section that says what to do, and no section is left over", async () => {
  const rules = await readRules();
  const sections = [...(await readMonitoring("README.md")).matchAll(/^### (\w+)\n\n(.+)/gm)].map(([, name]) =>
    name
  );
  assertEquals(rules.map(({ alert }) => alert).toSorted(), sections.toSorted());
  for (const { alert, annotations } of rules) {
    assertEquals(annotations.runbook, `specs/monitoring/README.md#${alert.toLowerCase()}`);
  }
});

const configSchema = z.object({
  rule_files: z.array(z.string()),
  scrape_configs: z.array(z.object({
    job_name: z.string(),
    static_configs: z.array(z.object({ targets: z.array(z.string()) })),
  })),
});

Deno.test("the example for Prometheus scrapes the API and all workers where deno task dev has them", async () => {
  const text = await readMonitoring("prometheus.yaml");
  const { rule_files, scrape_configs } = configSchema.parse(parse(text));
  const ports = [...metricsPorts(9464, () => 0).values()].map((port) => `127.0.0.1:${port}`);
  assertEquals(
    scrape_configs.map((job) => [job.job_name, job.static_configs.flatMap(({ targets }) => targets)]),
    [["orderflow-api", [`127.0.0.1:${VARIABLES.PORT.parse(undefined)}`]], ["orderflow-workers", ports]],
  );
  for (const file of rule_files) await readMonitoring(file);
  for (const { name } of WORKERS) assertStringIncludes(text, name); // as they are called in docker-compose.yml
});

const exposition = `# HELP x_total Some.
# TYPE x_total counter
x_total{consumer="a b"} 3
# HELP y_seconds Some.
# TYPE y_seconds histogram
y_seconds_bucket{le="1"} 1
y_seconds_sum 0.5
y_seconds_count 1

# HELP z None yet.
# TYPE z gauge
`;

Deno.test("problemsOf() finds names, labels and values that nobody exports, and what is no PromQL is thrown out", () => {
  const metrics = new Map<string, Metric>(
    [...readExposition(exposition)].map(([name, exported]) => {
      const labels = exported.series.flatMap(({ labels }) => Object.keys(labels)).filter((label) =>
        label !== "le"
      );
      return [name, { ...exported, from: ["api"], labels }];
    }),
  );
  const right = "histogram_quantile(0.9, sum by (le, job) (rate(y_seconds_bucket[$__rate_interval]))) > 1";
  assertEquals(problemsOf(right, ["job"], metrics), []);
  const wrong: [expression: string, problem: RegExp][] = [
    ["sum(rate(x_totals[5m]))", /nobody exports x_totals/],
    ["y_seconds > 1", /nobody exports y_seconds/],
    ["sum by (queue) (x_total)", /x_total has no label queue/],
    ['x_total{queue="a"}', /x_total has no label queue/],
    ['x_total{consumer="c"}', /never has consumer="c"/],
    ["sum by (le) (y_seconds_sum)", /y_seconds_sum has no label le/],
    ["rate(z[5m])", /z is no counter/],
  ];
  for (const [expression, problem] of wrong) {
    const found = problemsOf(expression, [], metrics);
    assert(found.some((each) => problem.test(each)), `${expression}: ${found}`);
  }
  assertEquals(problemsOf("sum by (consumer) (x_total)", ["queue"], metrics), [
    "the result has no label queue",
  ]);
  const broken = [
    "sum(x_total",
    "rate(x_total[5 minutes])",
    "x_total >> 1",
    "x_total x_total",
    '{consumer="a"}',
    "",
  ];
  for (const expression of [...broken, "average(x_total)"]) {
    assertThrows(() => readPromql(expression), Error, undefined, expression);
  }
});
