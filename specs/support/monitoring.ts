/**
 * The dashboard and the alert rules of `specs/monitoring/`, what their expressions ask for, and what processes export: so
 * that the first can be held against the last.
 *
 * @module
 */
import { parse } from "yaml";
import { z } from "zod";

const folder = new URL("../monitoring/", import.meta.url);

/** An expression somewhere in the files. */
export interface Query {
  /** The panel or the alert. */
  readonly where: string;
  /** PromQL. */
  readonly expression: string;
  /** The labels that the text around it mentions. */
  readonly mentioned: readonly string[];
}

const panelSchema = z.object({
  id: z.int(),
  type: z.enum(["row", "timeseries", "stat", "bargauge"]),
  title: z.string().min(1),
  datasource: z.object({ type: z.literal("prometheus"), uid: z.literal("${datasource}") }).optional(),
  gridPos: z.object({ x: z.int(), y: z.int(), w: z.int(), h: z.int() }),
  targets: z.array(z.object({ refId: z.string(), expr: z.string(), legendFormat: z.string() })).default([]),
});

const dashboardSchema = z.object({
  uid: z.string(),
  title: z.string(),
  schemaVersion: z.int().min(39), // Grafana 11
  templating: z.object({
    list: z.array(z.object({ name: z.string(), type: z.string(), query: z.string() })),
  }),
  panels: z.array(panelSchema),
});

/** A duration as Prometheus takes it (https://prometheus.io/docs/prometheus/latest/configuration/configuration/). */
const durationSchema = z.string().regex(/^(\d+(ms|[smhdwy]))+$/);

const ruleSchema = z.strictObject({
  alert: z.string().regex(/^[A-Z][A-Za-z]+$/),
  expr: z.string(),
  for: durationSchema.optional(),
  labels: z.strictObject({ severity: z.enum(["critical", "warning"]) }),
  annotations: z.strictObject({
    summary: z.string(),
    description: z.string().min(40),
    runbook: z.string(),
  }),
});

const rulesSchema = z.strictObject({
  groups: z.array(z.strictObject({ name: z.string(), rules: z.array(ruleSchema) })),
});

/** The text of a file in `specs/monitoring/`. */
export async function readMonitoring(name: string): Promise<string> {
  return await Deno.readTextFile(new URL(name, folder));
}

/** The panels of the dashboard, the headings of its rows included: where each stands is in 24 columns and rows of 30 pixels. */
export async function readPanels(): Promise<z.infer<typeof panelSchema>[]> {
  return dashboardSchema.parse(JSON.parse(await readMonitoring("grafana-dashboard.json"))).panels;
}

/** All rules of all groups. */
export async function readRules(): Promise<z.infer<typeof ruleSchema>[]> {
  return rulesSchema.parse(parse(await readMonitoring("alerts.yaml"))).groups.flatMap(({ rules }) => rules);
}

/** The expressions of the dashboard, with the labels of their legends. */
export async function dashboardQueries(): Promise<Query[]> {
  return (await readPanels()).flatMap(({ title, targets }) =>
    targets.map(({ expr, legendFormat }) => ({
      where: `panel "${title}"`,
      expression: expr,
      mentioned: [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = ""]) => label),
    }))
  );
}

/** The expressions of the alerts, with the labels of their annotations. */
export async function alertRules(): Promise<Query[]> {
  return (await readRules()).map(({ alert, expr, annotations }) => ({
    where: `alert ${alert}`,
    expression: expr,
    mentioned: [...Object.values(annotations).join(" ").matchAll(/\$labels\.(\w+)/g)].map(([, l = ""]) => l),
  }));
}

/** What stands in a PromQL expression. */
export interface PromqlParts {
  /** Each selector; its metric is the name of a series: `…_bucket`, `…_sum` and `…_count` for those of a histogram. */
  readonly selected: readonly {
    readonly metric: string;
    readonly matchers: readonly {
      readonly label: string;
      readonly operator: string;
      readonly value: string;
    }[];
  }[];
  /** The labels of `by`, `without`, `on`, `ignoring` and `group_left` clauses. */
  readonly grouped: readonly string[];
  /** What stands in `rate()`, `irate()` and `increase()`, which know counters alone. */
  readonly rated: readonly string[];
}

/** The functions and aggregations that are in use. */
const FUNCTIONS = new Set("sum max min count rate irate increase deriv histogram_quantile time".split(" "));

const BRACES = /\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\}/g;
const CLAUSES = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([\w\s,]*)\)/g;
const OPERATORS = /\b(?:and|or|unless)\b|[=!<>]=|[-+*/%^<>]/g;
const CALLS = /([a-z_]\w*)\s*(?=\()/g;
const SELECTORS = /([a-z_]\w*)(?:\{(\d+)\})?(?:\[\d+[smhd]\])?/g;

/**
 * Reads as much of PromQL as is in use: operators, calls, aggregations, selectors and ranges. Grafana's
 * `$__rate_interval` and `$__range` stand for a duration.
 *
 * Errors: when it is no such expression; a selector without a metric's name is not taken either.
 */
export function readPromql(expression: string): PromqlParts {
  const braces: string[] = [];
  const selected: PromqlParts["selected"][number][] = [];
  const grouped: string[] = [];
  const text = expression.replaceAll(/\$__(rate_interval|interval|range)/g, "5m")
    .replaceAll(BRACES, (inner) => `{${braces.push(inner) - 1}}`)
    .replaceAll(CLAUSES, (_, labels: string) => {
      grouped.push(...labels.split(",").map((label) => label.trim()).filter((label) => label !== ""));
      return "";
    });
  // What is left is checked by its shape: F a function, V a value, O an operator. Whatever is whole shrinks to one value.
  let shape = text.replaceAll(OPERATORS, " O ")
    .replaceAll(CALLS, (_, name: string) => {
      if (!FUNCTIONS.has(name)) {
        throw new Error(`no function of PromQL that is known here: ${name}() in ${expression}`);
      }
      return "F";
    })
    .replaceAll(SELECTORS, (_, metric: string, at?: string) => {
      selected.push({ metric, matchers: matchersIn(braces[Number(at)] ?? "") });
      return "V";
    })
    .replaceAll(/\b\d+(\.\d+)?\b/g, "V").replaceAll(/\s+/g, "");
  for (let before = ""; before !== shape;) {
    before = shape;
    shape = shape.replaceAll(/F\((V(,V)*)?\)|\(V\)|VOV/g, "V");
  }
  if (shape !== "V") throw new Error(`no PromQL, as far as it is known here: ${expression}`);
  const rated = [...text.matchAll(/\b(?:i?rate|increase)\s*\(\s*(\w+)/g)].map(([, metric = ""]) => metric);
  return { selected, grouped, rated };
}

function matchersIn(braces: string): PromqlParts["selected"][number]["matchers"] {
  return [...braces.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"/g)]
    .map(([, label = "", operator = "", value = ""]) => ({ label, operator, value }));
}

/** What a process exports of one name. */
export interface Exported {
  /** `counter`, `gauge` or `histogram`. */
  readonly type: string;
  /** What it says of itself. */
  readonly help: string;
  /** Its series. */
  readonly series: readonly Series[];
}

/** One line of an exposition. */
export interface Series {
  /** The name: for a histogram with its suffix. */
  readonly name: string;
  /** Its labels. */
  readonly labels: Readonly<Record<string, string>>;
  /** Its value. */
  readonly value: number;
}

/**
 * Reads the text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/): by the name of
 * each metric, what is exported of it.
 *
 * Errors: when a line is neither a comment nor a sample of the metric announced above it.
 */
export function readExposition(text: string): Map<string, Exported> {
  const exported = new Map<string, { type: string; help: string; series: Series[] }>();
  for (const line of text.split("\n").filter((line) => line !== "")) {
    const [, keyword, about = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (keyword === "HELP") exported.set(about, { type: "", help: rest, series: [] });
    if (keyword === "TYPE") exported.set(about, { ...entryOf(exported, about), type: rest });
    if (keyword) continue;
    const [, name = "", , labels = "", value] = /^(\w+)(\{(.*)\})? (\S+)$/.exec(line) ?? [];
    const family = [...exported.keys()].findLast((known) =>
      seriesNames(known, exported.get(known)?.type).has(name)
    );
    if (family === undefined || value === undefined) throw new Error(`no sample of a known metric: ${line}`);
    entryOf(exported, family).series.push({ name, labels: labelsIn(labels), value: Number(value) });
  }
  return exported;
}

/** The names of the series of a metric of some type. */
export function seriesNames(metric: string, type = "gauge"): ReadonlySet<string> {
  return new Set(
    type === "histogram" ? ["_bucket", "_sum", "_count"].map((suffix) => `${metric}${suffix}`) : [metric],
  );
}

function entryOf<T>(entries: ReadonlyMap<string, T>, name: string): T {
  const entry = entries.get(name);
  if (!entry) throw new Error(`${name} has no HELP above its TYPE`);
  return entry;
}

function labelsIn(text: string): Record<string, string> {
  return Object.fromEntries(
    [...text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]),
  );
}
