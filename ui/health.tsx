// How the whole is: one sentence, by what is wrong with the machine, the audit, and the page's own connection; and the
// dialog that it opens, with all that is wrong and what the auditor has found.

import { useEffect, useState } from "preact/hooks";
import type { AuditJson } from "../shared/ops/answers.ts";
import { troublesOf } from "../shared/ops/health.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { StoryQueue } from "../shared/ops/story.ts";
import { counted, formatCount } from "../shared/words.ts";
import type { ApiClient } from "./api.ts";
import { Button, type Column, Dialog, Table, ViewLink } from "./controls.tsx";
import { formatTime } from "./format.ts";
import { useFresh } from "./hooks.ts";
import type { LiveStatus } from "./live.ts";
import { Badge, Icon, type Level, Notice, OrderLink } from "./marks.tsx";

export interface Health {
  readonly level: Level;
  readonly sentence: string;
  /** All that is wrong, the worst first; the sentence has the first of it. */
  readonly all: readonly (readonly [Level, string])[];
}

/** The whole in one sentence. `violations` is what the last audit has found; null before the first. */
export function healthOf(
  pulse: LivePulse,
  queues: readonly StoryQueue[],
  status: LiveStatus,
  violations: number | null,
): Health {
  if (status === "offline" || status === "stale") {
    const what = status === "offline" ? "Disconnected" : "Nothing has been heard";
    const sentence = `${what}: all this is as of ${formatTime(pulse.at)} UTC`;
    return { level: "bad", sentence, all: [["bad", sentence]] };
  }
  const found = troublesOf(pulse, queues).map(({ level, sentence }): readonly [Level, string] => {
    return [level === "held" ? "warn" : level, sentence];
  });
  if (violations) found.unshift(["bad", `A promise is broken: ${counted(violations, "violation")}`]);
  const all = found.toSorted(([a], [b]) => Number(b === "bad") - Number(a === "bad"));
  const [first] = all;
  if (!first) {
    const sentence = violations === null ? "Every part runs" : "Every part runs, every promise holds";
    return { level: "good", sentence, all: [] };
  }
  const more = all.length > 1 ? ` (and ${all.length - 1} more)` : "";
  return { level: first[0], sentence: first[1] + more, all };
}

/** Between two audits that nobody asked for, in milliseconds: each reads the whole database. */
const AUDIT_EVERY_MS = 60_000;
/** The first one waits for the page to be at rest, so many milliseconds. */
const FIRST_AFTER_MS = 2500;

/** How many violations an audit has found; null before the first. */
export function violationsOf(audit: AuditJson | null): number | null {
  return audit && audit.checks.reduce((sum, { count }) => sum + count, 0);
}

/** Audits once the page is at rest, then about every minute while somebody looks, and whenever it is asked for. */
export function useAudit(api: ApiClient, now: number, isStale: boolean) {
  const [isAtRest, setAtRest] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setAtRest(true), FIRST_AFTER_MS);
    return () => clearTimeout(timer);
  }, []);
  const load = async () => isAtRest ? await api.readAudit() : null;
  const tick = String(Math.floor(now / AUDIT_EVERY_MS));
  return useFresh(load, `audit ${isAtRest}`, { tick, isHeld: isStale });
}

/** How the whole is, in one sentence, which opens the rest. */
export function HealthSentence({ health: { level, sentence } }: { readonly health: Health }) {
  return (
    <>
      <ViewLink class={`health ${level}`} to={{ panel: "health" }} aria-haspopup="dialog">
        <Icon name={level} />
        <span>{sentence}</span>
      </ViewLink>
      {/* The figures in it change all the time: only whether it is well is read out. */}
      <span class="visually-hidden" role="status">
        {level === "good" ? "All is well" : "Something is not well"}
      </span>
    </>
  );
}

interface HealthDialogProps {
  readonly health: Health;
  readonly verdict: ReturnType<typeof useAudit>;
}

export function HealthDialog({ health: { sentence, all }, verdict }: HealthDialogProps) {
  const { value: audit, problem, refresh } = verdict;
  return (
    <Dialog title="How the system is">
      {all.length === 0 && <Notice level="good">{sentence}</Notice>}
      {all.map(([level, words], i) => <Notice key={i} level={level}>{words}</Notice>)}
      <h3>The auditor's findings</h3>
      <p class="muted" role="status">{audit ? audited(audit) : "No audit has been finished yet."}</p>
      {problem !== null && <Notice level="warn">The last audit could not run. {problem}</Notice>}
      {audit && <Table caption="Checks" columns={COLUMNS} rows={checksOf(audit)} />}
      <div class="dialog-buttons">
        <Button icon="retry" onClick={refresh}>Audit again</Button>
      </div>
    </Dialog>
  );
}

/** What an audit has looked for, and found. */
interface Check {
  /** How it is where anything was found. */
  readonly worst: Level;
  readonly words: string;
  readonly count: number;
  /** The first of them. */
  readonly found: AuditJson["waitingForOperator"]["orders"];
}

function checksOf({ checks, waitingForOperator: { count, orders } }: AuditJson): Check[] {
  const words = "Orders that an open dead letter holds up: no violation, somebody decides";
  return [
    ...checks.map(({ check, promise, count, violations }): Check => {
      return { worst: "bad", words: `${check} (promise ${promise})`, count, found: violations };
    }),
    { worst: "warn", words, count, found: orders },
  ];
}

function audited({ orders, events, checkedAt, graceSeconds }: AuditJson): string {
  return `${formatCount(orders)} orders and ${formatCount(events)} events in one snapshot, of ` +
    `${formatTime(checkedAt)} UTC. What follows from an event may take ${graceSeconds} s.`;
}

const COLUMNS: readonly Column<Check>[] = [
  ["What is looked for", ({ words }) => words],
  ["Found", ({ worst, count, found }) => (
    <>
      <Badge tone={count === 0 ? "good" : worst} icon={count === 0 ? "good" : worst}>
        {count === 0 ? "none" : counted(count, "order")}
      </Badge>
      {found.map(({ orderId, eventId, detail }) => (
        <small key={`${orderId} ${eventId} ${detail}`}>
          <OrderLink id={orderId} /> {detail}
        </small>
      ))}
      {count > found.length && <small class="muted">and {formatCount(count - found.length)} more</small>}
    </>
  )],
];
