/**
 * What PromQL expressions ask for, and what processes export: so that dashboards and alerts can be held against them.
 *
 * @module
 */
import { parser } from "@prometheus-io/lezer-promql";

/** What an expression selects. */
export interface Selected {
  /** The name of the series: `…_bucket`, `…_sum` and `…_count` for those of a histogram. */
  readonly metric: string;
  /** The labels that are matched, with their operators and values. */
  readonly matchers: readonly { readonly label: string; readonly operator: string; readonly value: string }[];
}

/** What stands in an expression. */
export interface PromqlParts {
  /** Each selector, in the order of the text. */
  readonly selected: readonly Selected[];
  /** The labels of `by`, `without`, `on`, `ignoring` and `group_left` clauses. */
  readonly grouped: readonly string[];
  /** What stands in `rate()`, `irate()` and `increase()`, which know counters alone. */
  readonly rated: readonly string[];
}

/**
 * Reads a PromQL expression with the grammar of Prometheus' own editor
 * (https://github.com/prometheus/prometheus/tree/main/web/ui/module/lezer-promql). Grafana's `$__rate_interval` and
 * `$__range` stand for a duration.
 *
 * Errors: when it is no PromQL, with what is wrong where; a selector without a metric's name is not taken either.
 */
export function readPromql(expression: string): PromqlParts {
  const text = expression.replaceAll(/\$__(rate_interval|interval|range)/g, "5m");
  const selected: Selected[] = [];
  const grouped: string[] = [];
  const rated: string[] = [];
  parser.parse(text).iterate({
    enter({ name, from, to, node }) {
      const inner = text.slice(from, to);
      if (name === "⚠") throw new Error(`no PromQL at ${from} ("${text.slice(from, from + 20)}"): ${text}`);
      if (name === "VectorSelector") {
        const metric = node.getChild("Identifier");
        if (!metric) throw new Error(`a selector without a metric: ${text}`);
        const series = text.slice(metric.from, metric.to);
        selected.push({ metric: series, matchers: matchersIn(inner) });
        if (/(rate|increase)\($/.test(text.slice(0, from))) rated.push(series);
      }
      if (name === "GroupingLabels") {
        grouped.push(...inner.slice(1, -1).split(",").map((label) => label.trim()));
      }
    },
  });
  return { selected, grouped: grouped.filter((label) => label !== ""), rated };
}

function matchersIn(selector: string): Selected["matchers"] {
  return [...selector.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"/g)]
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
