/**
 * `deno task audit`: checks the promises over the whole database and names what breaks them. The exit code is 0 where
 * nothing does, 1 where the audit could not run, 2 where something breaks one, 64 for a wrong usage, 78 for a wrong
 * configuration.
 *
 * @module
 */
import {
  EXIT_DONE,
  EXIT_FOUND,
  onOff,
  readFlags,
  runCommand,
  startProgress,
  wholeNumber,
} from "./command.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { type Audit, AUDIT_CHECKS, AUDIT_GRACE_SECONDS, runAudit } from "../../shared/ops/audit.ts";
import { connect } from "../../shared/sql/connect.ts";

const USAGE = `deno task audit: checks the promises over the whole database, and names what breaks them

  --grace=${AUDIT_GRACE_SECONDS}    seconds left to what is under way, 0 to 99999; 0 is for a system at rest
  --json         print the audit as JSON; progress goes to standard error
  --help         print this

DATABASE_URL names the database. Ends with 0 where every promise holds, 1 when the audit could not run, 2 where a promise
is broken, 64 for a wrong usage, 78 for a wrong configuration.

Example: deno task audit --grace=0`;

const FLAGS = { grace: wholeNumber(0, 99_999).default(AUDIT_GRACE_SECONDS), json: onOff };

if (import.meta.main) {
  const read = (args: readonly string[]) => readFlags(args, FLAGS)?.flags ?? null;
  Deno.exit(await runCommand({ task: "audit", usage: USAGE, read, run }, Deno.args));
}

async function run({ grace, json }: { readonly grace: number; readonly json: boolean }): Promise<number> {
  const audit = await auditFromEnvironment(grace);
  console.log(json ? JSON.stringify(audit) : reportOf(audit).join("\n"));
  return audit.ok ? EXIT_DONE : EXIT_FOUND;
}

async function auditFromEnvironment(graceSeconds: number): Promise<Audit> {
  const config = readConfig(["DATABASE_URL", "DATABASE_ROLES", "RETENTION_DAYS", ...TOPOLOGY_VARIABLES]);
  const role = config.DATABASE_ROLES ? "orderflow_ops" : null;
  const sql = connect(config.DATABASE_URL, { name: "audit", role, max: 1 });
  using progress = startProgress("checks", AUDIT_CHECKS.length);
  progress.at(0);
  const retentionDays = config.RETENTION_DAYS;
  try {
    return await runAudit(sql, topologyOf(config), { graceSeconds, retentionDays, onProgress: progress.at });
  } catch (error) {
    throw new Error(`Cannot audit: ${messageOf(error)}`, { cause: error });
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
