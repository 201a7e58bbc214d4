/**
 * Whether the processes do their work, by what can be seen from outside, and the banner that says so.
 *
 * @module
 */
import { connect as connectBroker } from "amqplib";
import type { Topology } from "../../shared/topology.ts";
import { brokerUrls, readQueueDepths } from "../../shared/broker/connection.ts";
import { connect, type Sql } from "../../shared/sql/connect.ts";
import { pause } from "../../shared/process/stop.ts";
import { API, CONSUMERS, RELAY } from "./processes.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";

/** One thing that must be so before the system counts as ready: one look at a process; a rejection counts as not yet. */
interface Check {
  readonly name: string;
  readonly isReady: () => Promise<boolean>;
}

const POLL_MS = 60;

/**
 * Polls the checks until each has been met once, or until `stop`; answers whether all were met. After `patienceMs`
 * `onLate` is told, once, who is not ready; the wait goes on, because what they wait for may yet come.
 */
export async function untilReady(
  checks: readonly Check[],
  options: {
    readonly patienceMs: number;
    readonly onLate: (names: readonly string[]) => void;
    readonly stop: AbortSignal;
  },
): Promise<boolean> {
  const startedAt = performance.now();
  let told = false;
  let open = checks;
  while (!options.stop.aborted) {
    const met = await Promise.all(open.map((check) => check.isReady().catch(() => false)));
    open = open.filter((_, i) => !met[i]);
    if (open.length === 0) return true;
    if (!told && performance.now() - startedAt > options.patienceMs) {
      told = true;
      options.onLate(open.map(({ name }) => name));
    }
    await pause(POLL_MS, options.stop);
  }
  return false;
}

/** Where the system can be looked at. */
export interface System {
  readonly apiUrl: string;
  readonly databaseUrl: string;
  readonly amqpUrl: string;
  /** The queues that must be consumed. */
  readonly topology: Topology;
}

/** One check for each process. Disposing of them closes what they look through. */
export function systemChecks(system: System): { checks: Check[] } & AsyncDisposable {
  const { topology } = system;
  const sql = connect(system.databaseUrl, { name: "dev", role: null, max: 1 });
  const consumedQueues = createQueueReader(system.amqpUrl, topology);
  const checks: Check[] = [
    { name: API.name, isReady: () => apiIsReady(system.apiUrl) },
    { name: RELAY.name, isReady: () => relayIsListening(sql) },
    ...CONSUMERS.map(({ name, queue }) => {
      return { name, isReady: async () => (await consumedQueues()).has(topology.queues[queue].name) };
    }),
  ];
  return { checks, [Symbol.asyncDispose]: () => sql.end({ timeout: 1 }) };
}

/** The API answers, and reaches database and broker. */
async function apiIsReady(url: string): Promise<boolean> {
  const response = await fetch(new URL("/readyz", url), { signal: AbortSignal.timeout(2000) });
  await response.body?.cancel();
  return response.ok;
}

/** The relay listens for wake-ups. Its sessions carry its name. */
async function relayIsListening(sql: Sql): Promise<boolean> {
  const rows = await sql`
    select from pg_stat_activity
    where datname = current_database() and application_name = 'orderflow outbox-relay' and query ilike 'listen%'`;
  return rows.length > 0;
}

/**
 * Makes a look at the broker that answers with the queues that somebody consumes; none while it cannot be reached or a
 * queue is not declared yet. Looks asked for at the same time are one look.
 */
function createQueueReader(amqpUrl: string, topology: Topology): () => Promise<Set<string>> {
  const urls = brokerUrls(amqpUrl);
  let looking: Promise<Set<string>> | null = null;
  let looks = 0; // each at another node of a cluster: one of them may be down
  const look = () => readConsumedQueues(urls[looks++ % urls.length] ?? urls[0], topology);
  return () => looking ??= look().finally(() => looking = null);
}

async function readConsumedQueues(url: string, topology: Topology): Promise<Set<string>> {
  const connection = await connectBroker(url, { timeout: 2000 });
  connection.on("error", () => {});
  try {
    const channel = await connection.createChannel();
    channel.on("error", () => {}); // a queue that is not there yet closes the channel; the rejection says so
    const depths = await readQueueDepths(channel, topology);
    return new Set(depths.filter(({ consumers }) => consumers > 0).map(({ queue }) => queue));
  } finally {
    await connection.close().catch(() => {});
  }
}

/** What the banner tells; URLs are in full, and are shown without their passwords. */
export interface BannerFacts extends Omit<System, "topology"> {
  /** Which of the two services this run brought up itself. */
  readonly embedded: { readonly database: boolean; readonly broker: boolean };
  /** The folder of the embedded data and of the env file, as a person would type it. */
  readonly home: string;
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
  return `
${RULE}
OrderFlow is ready: the API answers, all consumers are subscribed (${(facts.startMs / 1000).toFixed(1)} s).

  API         ${apiUrl}
  Debug view  ${apiUrl}
  Reference   ${apiUrl}/docs
  Postgres    ${withoutPassword(facts.databaseUrl)} (${database})
  RabbitMQ    ${brokerUrls(facts.amqpUrl).map(withoutPassword).join(",")} (${broker})
  Env file    ${home}/env has both URLs: set -a; . ${home}/env; psql "$DATABASE_URL"
  Processes   ${processLines(facts.processes).join(INDENT)}

  Try it      curl -i ${apiUrl}/orders -H 'content-type: application/json' \\${INDENT}  -d '${order}'
  Stop it     Ctrl-C
${RULE}`;
}

function processLines(processes: BannerFacts["processes"]): string[] {
  const texts = processes.map(({ name, pid }) => `${name} ${pid}`);
  return Array.from({ length: Math.ceil(texts.length / PROCESSES_PER_LINE) }, (_, i) => {
    return texts.slice(i * PROCESSES_PER_LINE, (i + 1) * PROCESSES_PER_LINE).join(", ");
  });
}

/** A URL as it may be shown: with *** for a password. */
export function withoutPassword(text: string): string {
  const url = new URL(text);
  if (url.password) url.password = "***";
  return url.href;
}
