/**
 * Whether the processes do their work, by what the API tells of them, and the banner that says so.
 *
 * @module
 */
import { brokerUrls } from "../../shared/broker/connection.ts";
import { type SystemStatus, systemStatusSchema } from "../../shared/ops/live.ts";
import { pause } from "../../shared/process/stop.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import type { Topology } from "../../shared/topology.ts";
import { ApiError, opsApi } from "../tools/ops_api.ts";
import { API, CONSUMERS, PROCESSES } from "./processes.ts";

const POLL_MS = 100;
const ANSWER_MS = 5000;

/**
 * The names of those that do not do their work yet: whose process, by `pids`, is not heard of, or whose queue of
 * `topology` nobody consumes. Pure.
 */
export function notReady(
  { database, broker, figures }: SystemStatus,
  topology: Topology,
  pids: ReadonlyMap<string, number>,
): string[] {
  if (database !== "up" || broker !== "up" || !figures) return [API.name];
  const heard = new Set(figures.processes.map(({ name, pid }) => `${name} ${pid}`));
  const consumed = new Set(
    figures.queues?.filter(({ consumers }) => consumers > 0).map(({ queue }) => queue),
  );
  const idle = CONSUMERS.filter(({ queue }) => !consumed.has(topology.queues[queue].name));
  return PROCESSES.filter((spec) =>
    !heard.has(`${spec.name} ${pids.get(spec.name)}`) || idle.some(({ name }) => name === spec.name)
  ).map(({ name }) => name);
}

/** Asks the API at `url` who is not ready. One that does not tell (`HOST` of a network, no token) counts as ready. */
export function readinessOf(url: string, topology: Topology, stop: AbortSignal) {
  const { ask } = opsApi(url, ANSWER_MS, stop);
  return async (pids: ReadonlyMap<string, number>): Promise<string[]> => {
    try {
      return notReady(await ask(systemStatusSchema, "/ops/status"), topology, pids);
    } catch (error) {
      return error instanceof ApiError && (error.status === 401 || error.status === 403) ? [] : [API.name];
    }
  };
}

/**
 * Looks again and again until nobody is named, or until `stop`; answers whether all were ready. After `patienceMs`
 * `onLate` is told, once, who is not; the wait goes on, because what they wait for may yet come.
 */
export async function untilReady(
  look: () => Promise<readonly string[]>,
  { patienceMs, onLate, stop }: {
    readonly patienceMs: number;
    readonly onLate: (names: readonly string[]) => void;
    readonly stop: AbortSignal;
  },
): Promise<boolean> {
  const startedAt = performance.now();
  for (let told = false; !stop.aborted;) {
    const late = await look();
    if (late.length === 0) return true;
    if (!told && performance.now() - startedAt > patienceMs) {
      told = true;
      onLate(late);
    }
    await pause(POLL_MS, stop);
  }
  return false;
}

/** What the banner tells; URLs are in full, and are shown without their passwords. */
interface BannerFacts {
  readonly apiUrl: string;
  readonly databaseUrl: string;
  readonly amqpUrl: string;
  /** Which of the two services this run brought up itself. */
  readonly embedded: { readonly database: boolean; readonly broker: boolean };
  /** The folder of the embedded data and of the env file, as a person would type it. */
  readonly home: string;
  /** `deno task status`, as it can be pasted. */
  readonly status: string;
  /** All that run: kill any of them and see it come back. */
  readonly processes: readonly { readonly name: string; readonly pid: number }[];
  /** How long the start took. */
  readonly startMs: number;
}

const RULE = "-".repeat(100);
/** Where a line's second column starts. */
const INDENT = `\n${" ".repeat(14)}`;
const PROCESSES_PER_LINE = 3;

/** The banner, several lines. It holds no password: the env file has those. */
export function banner(facts: BannerFacts): string {
  const { apiUrl, embedded, home } = facts;
  const order = JSON.stringify({
    userId: SCENARIO_USER,
    courseId: RESERVED_COURSES.success,
    amount: "49.90",
  });
  const database = embedded.database ? `embedded, data in ${home}/postgres` : "as DATABASE_URL says";
  const broker = embedded.broker ? "embedded, in memory" : "as AMQP_URL says";
  const texts = facts.processes.map(({ name, pid }) => `${name} ${pid}`);
  const processes = Array.from({ length: Math.ceil(texts.length / PROCESSES_PER_LINE) }, (_, i) => {
    return texts.slice(i * PROCESSES_PER_LINE, (i + 1) * PROCESSES_PER_LINE).join(", ");
  });
  return `
${RULE}
OrderFlow is ready: the API answers, all consumers are subscribed (${(facts.startMs / 1000).toFixed(1)} s).

  API         ${apiUrl}
  Debug view  ${apiUrl}
  Reference   ${apiUrl}/docs
  Postgres    ${withoutPassword(facts.databaseUrl)} (${database})
  RabbitMQ    ${brokerUrls(facts.amqpUrl).map(withoutPassword).join(",")} (${broker})
  Env file    ${home}/env has both URLs: set -a; . ${home}/env; psql "$DATABASE_URL"
  Processes   ${processes.join(INDENT)}

  Try it      curl -i ${apiUrl}/orders -H 'content-type: application/json' \\${INDENT}  -d '${order}'
  See it      ${facts.status}
  Learn it    twelve lessons: specs/lessons/README.md
  Stop it     Ctrl-C
${RULE}`;
}

/** A URL as it may be shown: with *** for a password. */
export function withoutPassword(text: string): string {
  return text.replace(/(:\/\/[^:/?#]*):[^/?#]+@/, "$1:***@"); // a URL of several hosts is none for URL
}
