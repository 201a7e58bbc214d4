// `deno task audit`: checks the promises over the whole database and names what breaks them.

import {
  cannot,
  EXIT_DONE,
  EXIT_FOUND,
  flag,
  type FlagValues,
  onOff,
  startProgress,
  tableLines,
  task,
  wholeNumber,
} from "./command.ts";
import { type Config, readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { type Audit, AUDIT_CHECKS, AUDIT_GRACE_SECONDS, runAudit } from "../../shared/ops/audit.ts";
import { connect, type Sql } from "../../shared/sql/connect.ts";
import { counted } from "../../shared/words.ts";

const FLAGS = {
  grace: flag(
    wholeNumber(0, 99_999).default(AUDIT_GRACE_SECONDS),
    "seconds left to what is under way, 0 to 99999; 0 is for a system at rest",
  ),
  json: flag(onOff, "print the audit as JSON; progress goes to standard error"),
};
const VARIABLES = ["DATABASE_URL", "DATABASE_ROLES", "RETENTION_DAYS", ...TOPOLOGY_VARIABLES] as const;

async function run({ grace, json }: FlagValues<typeof FLAGS>): Promise<number> {
  const config = readConfig(VARIABLES);
  const role = config.DATABASE_ROLES ? "orderflow_ops" : null;
  const sql = connect(config.DATABASE_URL, { name: "audit", role, max: 1 });
  const audit = await auditWithProgress(sql, config, grace).finally(() => sql.end({ timeout: 1 }));
  console.log(json ? JSON.stringify(audit) : reportOf(audit).join("\n"));
  return audit.ok ? EXIT_DONE : EXIT_FOUND;
}

async function auditWithProgress(sql: Sql, config: Config<typeof VARIABLES[number]>, graceSeconds: number) {
  using progress = startProgress("checks", AUDIT_CHECKS.length);
  const options = { graceSeconds, retentionDays: config.RETENTION_DAYS, onProgress: progress.at };
  return await runAudit(sql, topologyOf(config), options).catch(cannot("audit"));
}

/** A line for each check, then what has been found. */
function reportOf(
  { checkedAt, graceSeconds, orders, events, checks, waitingForOperator: waiting }: Audit,
): string[] {
  const violations = checks.reduce((sum, { count }) => sum + count, 0);
  const listOf = (title: string, count: number, found: Audit["waitingForOperator"]["orders"]) => [
    ...count > 0 ? ["", `${title}:`] : [],
    ...found.map(({ orderId, eventId, detail }) =>
      `  order ${orderId}${eventId ? `, event ${eventId}` : ""}: ${detail}`
    ),
    ...count > found.length ? [`  and ${count - found.length} more`] : [],
  ];
  return [
    `${orders} orders and ${events} events at ${checkedAt.toISOString()}, with ${graceSeconds} s of grace`,
    "",
    ...tableLines(
      [...checks, { promise: "-", check: "waiting for an operator: no violation", count: waiting.count }],
      [
        { head: "promise", cell: ({ promise }) => `${promise}` },
        { head: "check", cell: ({ check }) => check },
        { head: "found", cell: ({ count }) => `${count}`, isFigure: true },
      ],
    ),
    ...checks.flatMap(({ check, count, violations }) => listOf(check, count, violations)),
    ...listOf("waiting for an operator", waiting.count, waiting.orders),
    "",
    violations === 0 ? "Every promise holds." : `${counted(violations, "violation")}.`,
  ];
}

if (import.meta.main) {
  await task({
    name: "audit",
    about: "checks the promises over the whole database, and names what breaks them",
    flags: FLAGS,
    ends:
      `DATABASE_URL names the database. Ends with 0 where every promise holds, 1 when the audit could not run, 2 where a
promise is broken, 64 for a wrong usage, 78 for a wrong configuration.`,
    example: "--grace=0",
    run,
  });
}
