// Reads the text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/).

/** What a process exports of one name; its series have the suffixes of a histogram. */
export interface Exported {
  type: string;
  readonly help: string;
  readonly series: Series[];
}

export interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/**
 * By the name of each metric, what is exported of it.
 *
 * Errors: when a line is neither a comment nor a sample of the metric announced above it.
 */
export function readExposition(text: string): Map<string, Exported> {
  const exported = new Map<string, Exported>();
  let announced = "";
  for (const line of text.split("\n").filter((line) => line !== "")) {
    const [, keyword, about = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (keyword === "HELP") exported.set(announced = about, { type: "", help: rest, series: [] });
    const metric = exported.get(announced);
    if (keyword === "TYPE" && metric && about === announced) metric.type = rest;
    if (keyword) continue;
    const [, name = "", , labels = "", value] = /^(\w+)(\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (!metric || value === undefined || !seriesNames(announced, metric.type).has(name)) {
      throw new Error(`no sample of the metric announced above it: ${line}`);
    }
    metric.series.push({ name, labels: labelsIn(labels), value: Number(value) });
  }
  return exported;
}

export function seriesNames(metric: string, type: string): ReadonlySet<string> {
  const suffixes = type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
  return new Set(suffixes.map((suffix) => `${metric}${suffix}`));
}

/** The pairs of `label="value"`. */
export function labelsIn(text: string): Record<string, string> {
  return Object.fromEntries(
    [...text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]),
  );
}
