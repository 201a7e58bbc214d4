/**
 * The dashboard and the alert rules of `specs/monitoring/`, as far as tests look at them.
 *
 * @module
 */
import { parse } from "yaml";
import { z } from "zod";

const folder = new URL("../monitoring/", import.meta.url);

/** An expression somewhere in the files. */
export interface Query {
  /** Where it stands. */
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

const rulesSchema = z.strictObject({
  groups: z.array(z.strictObject({
    name: z.string(),
    rules: z.array(z.strictObject({
      alert: z.string().regex(/^[A-Z][A-Za-z]+$/),
      expr: z.string(),
      for: durationSchema.optional(),
      labels: z.strictObject({ severity: z.enum(["critical", "warning"]) }),
      annotations: z.strictObject({
        summary: z.string(),
        description: z.string().min(40),
        runbook: z.string(),
      }),
    })),
  })),
});

/** A panel of the dashboard, or the heading of a row of them. */
export interface Panel {
  /** Unique in the dashboard. */
  readonly id: number;
  /** Its heading. */
  readonly title: string;
  /** Where it stands, in 24 columns and rows of 30 pixels. */
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  /** What it draws; a heading draws nothing. */
  readonly targets: readonly {
    readonly refId: string;
    readonly expr: string;
    readonly legendFormat: string;
  }[];
}

/** An alert rule. */
export interface AlertRule {
  /** Its name. */
  readonly alert: string;
  /** PromQL: an alert for each series of the result. */
  readonly expr: string;
  /** How bad it is. */
  readonly labels: { readonly severity: "critical" | "warning" };
  /** What it says to people. */
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook: string };
}

/** The text of a file in `specs/monitoring/`. */
export async function readMonitoring(name: string): Promise<string> {
  return await Deno.readTextFile(new URL(name, folder));
}

/** The panels of the dashboard, those of headings included. */
export async function readPanels(): Promise<Panel[]> {
  return dashboardSchema.parse(JSON.parse(await readMonitoring("grafana-dashboard.json"))).panels;
}

/** All rules of all groups. */
export async function readRules(): Promise<AlertRule[]> {
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
