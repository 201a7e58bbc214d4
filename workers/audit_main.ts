/**
 * `deno task audit`: checks the promises over the whole database and names what breaks them. The exit code is 0 where
 * nothing does, 1 where something does, 2 where the audit could not run, 78 for a wrong configuration.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { ConfigError, readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../shared/config.ts";
import { messageOf } from "../shared/errors.ts";
import { EXIT_CONFIG } from "../shared/process.ts";
import { type Audit, AUDIT_GRACE_SECONDS, runAudit } from "../shared/sql/audit.ts";
import { connect } from "../shared/sql/connect.ts";

const EXIT_VIOLATIONS = 1;
const EXIT_NOT_RUN = 2;

if (import.meta.main) {
  try {
    const audit = await auditFromEnvironment(graceOf(Deno.args));
    console.log(reportOf(audit).join("\n"));
    if (!audit.ok) Deno.exit(EXIT_VIOLATIONS);
  } catch (error) {
    const isConfig = error instanceof ConfigError;
    console.error(isConfig ? error.message : `Cannot audit: ${messageOf(error)}`);
    Deno.exit(isConfig ? EXIT_CONFIG : EXIT_NOT_RUN);
  }
}

/** The grace out of `--grace=<seconds>`. */
function graceOf(args: readonly string[]): number {
  const { grace = String(AUDIT_GRACE_SECONDS) } =
    parseArgs({ args: [...args], options: { grace: { type: "string" } } }).values;
  if (/^\d{1,5}$/.test(grace)) return Number(grace);
  throw new Error(`--grace takes whole seconds, from 0 to 99999, not ${JSON.stringify(grace)}`);
}

async function auditFromEnvironment(graceSeconds: number): Promise<Audit> {
  const config = readConfig(["DATABASE_URL", "DATABASE_ROLES", "RETENTION_DAYS", ...TOPOLOGY_VARIABLES]);
  const role = config.DATABASE_ROLES ? "orderflow_ops" : null;
  const sql = connect(config.DATABASE_URL, { name: "audit", role, max: 1 });
  try {
    return await runAudit(sql, topologyOf(config), { graceSeconds, retentionDays: config.RETENTION_DAYS });
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** A line for each check, then what has been found. */
function reportOf({ checkedAt, graceSeconds, orders, events, checks, waitingForOperator }: Audit): string[] {
  const line = (promise: string, check: string, count: number | string) =>
    `${promise.padEnd(9)}${check.padEnd(56)}${String(count).padStart(8)}`;
  const violations = checks.reduce((sum, { count }) => sum + count, 0);
  return [
    `${orders} orders and ${events} events at ${checkedAt.toISOString()}, with ${graceSeconds} s of grace`,
    "",
    line("promise", "check", "found"),
    ...checks.map(({ promise, check, count }) => line(String(promise), check, count)),
    line("-", "waiting for an operator: no violation", waitingForOperator.count),
    ...checks.flatMap(({ check, count, violations }) => listOf(check, count, violations)),
    ...listOf("waiting for an operator", waitingForOperator.count, waitingForOperator.orders),
    "",
    violations === 0 ? "Every promise holds." : `${violations} violations.`,
  ];
}

function listOf(title: string, count: number, found: Audit["waitingForOperator"]["orders"]): string[] {
  if (count === 0) return [];
  const more = count > found.length ? [`  and ${count - found.length} more`] : [];
  const lines = found.map(({ orderId, eventId, detail }) =>
    `  order ${orderId}${eventId ? `, event ${eventId}` : ""}: ${detail}`
  );
  return ["", `${title}:`, ...lines, ...more];
}
