// Whether the processes do their work, by what the API tells of them, and the banner that says so.

import { brokerUrls } from "../../shared/broker/connection.ts";
import { type SystemStatus, systemStatusSchema } from "../../shared/ops/live.ts";
import { pause } from "../../shared/process/stop.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import type { Topology } from "../../shared/topology.ts";
import { ApiError, opsApi } from "../tools/ops_api.ts";
import { API, CONSUMERS } from "./processes.ts";

const POLL_MS = 100;
const ANSWER_MS = 5000;
const PATIENCE_MS = 30_000;

type Running = Readonly<{ name: string; pid: number }>;

/**
 * The names of those of `running` that do not do their work yet: who is not heard of, or whose queue of `topology` nobody
 * consumes. Pure.
 */
export function notReady(
  { database, broker, figures }: SystemStatus,
  topology: Topology,
  running: readonly Running[],
): string[] {
  if (database !== "up" || broker !== "up" || !figures) return [API.name];
  const heard = new Set(figures.processes.map(({ name, pid }) => `${name} ${pid}`));
  const consumed = figures.queues?.filter(({ consumers }) => consumers > 0).map(({ queue }) => queue) ?? [];
  const idle = CONSUMERS.filter(({ queue }) => !consumed.includes(topology.queues[queue].name));
  return running.map(({ name }) => name)
    .filter((name, i) => !heard.has(`${name} ${running[i]?.pid}`) || idle.some((spec) => spec.name === name));
}

/** Asks the API at `url` who is not ready. One that does not tell (`HOST` of a network, no token) counts as ready. */
export function readinessOf(
  url: string,
  topology: Topology,
  running: () => readonly Running[],
  stop: AbortSignal,
) {
  const { ask } = opsApi(url, ANSWER_MS, stop);
  return async (): Promise<string[]> => {
    try {
      return notReady(await ask(systemStatusSchema, "/ops/status"), topology, running());
    } catch (error) {
      return error instanceof ApiError && (error.status === 401 || error.status === 403) ? [] : [API.name];
    }
  };
}

/**
 * Looks again and again until nobody is named, or until `stop`; answers whether all were ready. After `patienceMs` it says,
 * once, who is not; the wait goes on, because what they wait for may yet come.
 */
export async function untilReady(
  look: () => Promise<readonly string[]>,
  say: (text: string) => void,
  stop: AbortSignal,
  patienceMs = PATIENCE_MS,
): Promise<boolean> {
  const startedAt = performance.now();
  for (let told = false; !stop.aborted;) {
    const late = await look();
    if (late.length === 0) return true;
    if (!told && performance.now() - startedAt > patienceMs) {
      told = true;
      say(`not ready after ${patienceMs / 1000} s, see their lines; still waiting for ${late.join(", ")}`);
    }
    await pause(POLL_MS, stop);
  }
  return false;
}

/** Where the API and its services are; URLs in full, which are shown without their passwords. */
export type ServiceUrls = Readonly<Record<"ORDERFLOW_API_URL" | "DATABASE_URL" | "AMQP_URL", string>>;

interface BannerFacts extends ServiceUrls {
  readonly embedded: { readonly database: boolean; readonly broker: boolean };
  /** The folder of the embedded data and of the env file, as a person would type it. */
  readonly home: string;
  /** `deno task status`, as it can be pasted. */
  readonly status: string;
  /** All that run: kill any of them and see it come back. */
  readonly processes: readonly Running[];
  readonly startMs: number;
}

const RULE = "-".repeat(100);
const INDENT = `\n${" ".repeat(14)}`;
const PROCESSES_PER_LINE = 3;

/** The banner, several lines. It holds no password: the env file has those. */
export function banner(facts: BannerFacts): string {
  const { ORDERFLOW_API_URL: apiUrl, embedded, home } = facts;
  const order = JSON.stringify({
    userId: SCENARIO_USER,
    courseId: RESERVED_COURSES.success,
    amount: "49.90",
  });
  const database = embedded.database ? `embedded, data in ${home}/postgres` : "as DATABASE_URL says";
  const broker = embedded.broker ? "embedded, in memory" : "as AMQP_URL says";
  const processes = facts.processes.map(({ name, pid }, i) => {
    const separator = i === 0 ? "" : i % PROCESSES_PER_LINE === 0 ? INDENT : ", ";
    return `${separator}${name} ${pid}`;
  });
  return `
${RULE}
OrderFlow is ready: the API answers, all consumers are subscribed (${(facts.startMs / 1000).toFixed(1)} s).

  API         ${apiUrl}
  Debug view  ${apiUrl}
  Reference   ${apiUrl}/docs
  Postgres    ${withoutPassword(facts.DATABASE_URL)} (${database})
  RabbitMQ    ${brokerUrls(facts.AMQP_URL).map(withoutPassword).join(",")} (${broker})
  Env file    ${home}/env has both URLs: (set -a; . ${home}/env; psql "$DATABASE_URL")
  Processes   ${processes.join("")}

  Try it      curl -i ${apiUrl}/orders -H 'content-type: application/json' \\${INDENT}  -d '${order}'
  See it      ${facts.status}
  Learn it    twelve lessons: specs/lessons/README.md
  Stop it     Ctrl-C
${RULE}`;
}

/** A URL as it may be shown: with *** for a password. */
function withoutPassword(text: string): string {
  return text.replace(/(:\/\/[^:/?#]*):[^/?#]+@/, "$1:***@"); // a URL of several hosts is none for URL
}
