// The processes of a run, and what each is started with.

import { fileURLToPath } from "node:url";
import { QUEUE_KEYS, type QueueKey } from "../../shared/topology.ts";
import { ConfigError, readConfig, type VariableName, VARIABLES } from "../../shared/process/config.ts";
import type { Environment } from "./child.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Faults are on, other than where a process is started by itself; what is embedded has no URL yet. */
const DEFAULTS: Environment = {
  FAULTS_ENABLED: "true",
  DATABASE_URL: "postgres://embedded",
  AMQP_URL: "amqp://embedded",
};

/**
 * Reads and checks every variable of every process, so that a bad value is told once and before anything starts. A URL that
 * is null is of a service that is to be embedded.
 *
 * Errors: `ConfigError`, naming every variable at fault.
 */
export function readSettings(env: Environment) {
  const given = (name: string) => env[name]?.trim() || undefined;
  const names = Object.keys(VARIABLES) as VariableName[];
  const config = readConfig(names, (name) => given(name) ?? DEFAULTS[name]);
  return { ...config, DATABASE_URL: given("DATABASE_URL") ?? null, AMQP_URL: given("AMQP_URL") ?? null };
}

/**
 * How many letters must be left out, put in, replaced, or swapped with the next one to make `b` of `a` (Levenshtein, and
 * Damerau for the swaps).
 */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (above[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swapped = isSwap ? (before[j - 2] ?? 0) + 1 : Infinity;
      row.push(Math.min((above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, replaced, swapped));
    }
    [before, above] = [above, row];
  }
  return above.at(-1) ?? 0;
}

/** The names in the text of an env file that nobody reads, and that look like a known one, with that one. Pure. */
export function misspelt(envFile: string): [name: string, known: string][] {
  const known = [...Object.keys(VARIABLES), "ORDERFLOW_HOME"];
  const given = [...envFile.matchAll(/^\s*(?:export\s+)?(\w+)\s*=/gm)].map(([, name = ""]) => name);
  return given.filter((name) => !known.includes(name)).flatMap((name) => {
    const near = known.map((each) => [each, distance(name.toUpperCase(), each)] as const)
      .toSorted(([, a], [, b]) => a - b)[0];
    return near && near[1] <= (name.length > 6 ? 2 : 1) ? [[name, near[0]]] : [];
  });
}

/**
 * Errors: `ConfigError` where Deno has read less of a variable in the text of an env file than stands there, because it is
 * without single quotes: such a value ends at a #, and a $ with a name that is not in `env` is left away with that.
 */
export function refuseCutValues(envFile: string, env: Environment): void {
  for (const [, name = "", value = ""] of envFile.matchAll(/^\s*(?:export\s+)?(\w+)=([^'\s].*)$/gm)) {
    const isBare = !value.startsWith('"');
    const text = isBare ? value.replace(/\s#.*/, "") : value; // a comment
    const ends = isBare && text.includes("#");
    const loses = [...text.matchAll(/\$\{?(\w*)/g)].some(([, other = ""]) => env[other] === undefined);
    if (name in VARIABLES && (ends || loses)) {
      throw new ConfigError(
        `${name} in .env would ${
          ends ? "end at the #" : "lose what follows the $"
        }: put it into single quotes, ${name}='…'`,
      );
    }
  }
}

const LAST_PORT = 65_535;

/**
 * The port of each worker: `first` for the relay, and for each consumer the next one, in the order of `CONSUMERS`. With
 * 0, one for each that `free` answers with; with undefined, none at all.
 *
 * Errors: `ConfigError` where there are not enough ports behind the first.
 */
export function metricsPorts(
  first: number | undefined,
  free: () => number,
): ReadonlyMap<ProcessSpec, number> {
  if (first === undefined) return new Map();
  if (first + WORKERS.length - 1 > LAST_PORT) {
    throw new ConfigError(
      `METRICS_PORT is ${first}: the ${WORKERS.length} workers take one port each from there on, and ${LAST_PORT} is the last.`,
    );
  }
  return new Map(WORKERS.map((spec, i) => [spec, first === 0 ? free() : first + i]));
}

export interface ProcessSpec {
  /** Shown in front of its lines. */
  readonly name: string;
  /** Its script, from the project's root. */
  readonly entry: string;
  /** Its permission set in deno.json. */
  readonly permissions: string;
}

export const API: ProcessSpec = { name: "api", entry: "api/main.ts", permissions: "api" };
export const RELAY: ProcessSpec = {
  name: "outbox-relay",
  entry: "workers/outbox_relay.ts",
  permissions: "relay",
};

/**
 * The consumers, one for each queue, under the queue's name. They share one permission set, because they need the very
 * same; payments has its own, because it alone reads the provider's settings and would be the one to reach a provider's
 * host.
 */
export const CONSUMERS: readonly (ProcessSpec & { readonly queue: QueueKey })[] = QUEUE_KEYS.map((queue) => {
  const words = queue.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).split(" ");
  const permissions = words[0] === "payments" ? "payments" : "consumer";
  return { name: words.join("-"), entry: `workers/${words.join("_")}.ts`, permissions, queue };
});

export const WORKERS: readonly ProcessSpec[] = [RELAY, ...CONSUMERS];
/** Every process that runs whatever is embedded. */
export const PROCESSES: readonly ProcessSpec[] = [API, ...WORKERS];

/** The embedded broker; it runs while `AMQP_URL` is unset. */
export const BROKER: ProcessSpec = {
  name: "broker",
  entry: "workers/dev/embedded_broker.ts",
  permissions: "broker",
};

/** Where the embedded broker listens on 127.0.0.1: its URL must outlive a restart, so the supervisor picks the port. */
export const BROKER_PORT_VARIABLE = "ORDERFLOW_BROKER_PORT";
/** The password of its user; `deno task dev` makes one up for each run. */
export const BROKER_PASSWORD_VARIABLE = "ORDERFLOW_BROKER_PASSWORD";
/** Its user, where a password is given; otherwise both are `guest`. */
export const BROKER_USER = "orderflow";
