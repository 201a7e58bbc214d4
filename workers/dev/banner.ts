/**
 * What `deno task dev` says once everything is up.
 *
 * @module
 */
import { brokerUrls } from "../../shared/broker/urls.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";

/** What the banner tells. */
export interface BannerFacts {
  /** The API's base URL, without a slash at the end. */
  readonly apiUrl: string;
  /** In full; it is shown without its password. */
  readonly databaseUrl: string;
  /** In full; it is shown without its password. */
  readonly amqpUrl: string;
  /** Which of the two services this run brought up itself. */
  readonly embedded: { readonly database: boolean; readonly broker: boolean };
  /** The folder of the embedded data and of the env file, as a person would type it. */
  readonly home: string;
  /** All that run: kill any of them and see it come back. */
  readonly processes: readonly { readonly name: string; readonly pid: number }[];
  /** How long the start took, in milliseconds. */
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
  const count = Math.ceil(texts.length / PROCESSES_PER_LINE);
  return Array.from(
    { length: count },
    (_, i) => texts.slice(i * PROCESSES_PER_LINE, (i + 1) * PROCESSES_PER_LINE).join(", "),
  );
}

/** A URL as it may be shown: with *** for a password. */
export function withoutPassword(text: string): string {
  const url = new URL(text);
  if (url.password) url.password = "***";
  return url.href;
}
