/**
 * The health sentence, which opens all that is wrong and what the auditor has found.
 *
 * @module
 */
import { useEffect, useRef, useState } from "preact/hooks";
import type { AuditJson } from "../shared/ops/answers.ts";
import { type ApiClient, problemOf } from "./api.ts";
import { Dialog } from "./dialog.tsx";
import { counted, formatCount, formatTime } from "./format.ts";
import type { Health, Level } from "./health.ts";
import { Icon, Notice, OrderLink } from "./marks.tsx";

/** Between two audits that nobody asked for, in milliseconds: each reads the whole database. */
const AUDIT_EVERY_MS = 60_000;
/** How often to look whether one is due, in milliseconds. */
const LOOK_MS = 5000;
/** The first one waits for the page to be at rest, so many milliseconds. */
const FIRST_AFTER_MS = 2500;

export interface Verdict {
  readonly audit: AuditJson | null;
  /** Why the last audit could not run, in words. */
  readonly problem: string | null;
  readonly isChecking: boolean;
  readonly check: () => Promise<void>;
}

/** How many violations an audit has found; null before the first. */
export function violationsOf(audit: AuditJson | null): number | null {
  return audit && audit.checks.reduce((sum, { count }) => sum + count, 0);
}

/** Audits once the page is at rest, then about every minute while somebody looks, and whenever it is asked for. */
export function useAudit(api: ApiClient, isStale: boolean): Verdict {
  const [verdict, setVerdict] = useState<Omit<Verdict, "check">>({
    audit: null,
    problem: null,
    isChecking: false,
  });
  const last = useRef({ isBusy: false, startedAt: -Infinity });
  async function check() {
    if (last.current.isBusy) return;
    last.current = { isBusy: true, startedAt: performance.now() };
    setVerdict((old) => ({ ...old, isChecking: true }));
    try {
      setVerdict({ audit: await api.readAudit(), problem: null, isChecking: false });
    } catch (error) {
      setVerdict((old) => ({ ...old, problem: problemOf(error), isChecking: false }));
    }
    last.current.isBusy = false;
  }
  useEffect(() => {
    if (isStale) return;
    const checkIfDue = () => {
      if (!document.hidden && performance.now() - last.current.startedAt >= AUDIT_EVERY_MS) void check();
    };
    const first = setTimeout(checkIfDue, FIRST_AFTER_MS);
    const timer = setInterval(checkIfDue, LOOK_MS);
    return () => {
      clearTimeout(first);
      clearInterval(timer);
    };
  }, [isStale]);
  return { ...verdict, check };
}

export function HealthSentence(
  { health, verdict }: { readonly health: Health; readonly verdict: Verdict },
) {
  const [isOpen, setOpen] = useState(false);
  const { level, sentence, all } = health;
  return (
    <>
      <button type="button" class={`health ${level}`} aria-haspopup="dialog" onClick={() => setOpen(true)}>
        <Icon name={level} />
        <span>{sentence}</span>
      </button>
      {/* The figures in it change all the time: only whether it is well is read out. */}
      <span class="visually-hidden" role="status">
        {level === "good" ? "All is well" : "Something is not well"}
      </span>
      {isOpen && (
        <Dialog title="How the system is" isWide onClose={() => setOpen(false)}>
          {all.length === 0 && <Notice level="good">{sentence}</Notice>}
          {all.map((words) => <Notice key={words} level="warn">{words}</Notice>)}
          <Findings verdict={verdict} />
        </Dialog>
      )}
    </>
  );
}

function Findings(
  { verdict: { audit, problem, isChecking, check } }: { readonly verdict: Verdict },
) {
  return (
    <>
      <h3>The auditor's findings</h3>
      <p class="muted" role="status">
        {audit
          ? `${formatCount(audit.orders)} orders and ${
            formatCount(audit.events)
          } events in one snapshot of ` +
            `${formatTime(audit.checkedAt)} UTC. What follows from an event may take ${audit.graceSeconds} s.`
          : "No audit has been finished yet."}
      </p>
      {problem !== null && <Notice level="warn">The last audit could not run. {problem}</Notice>}
      <ul class="checks">
        {audit?.checks.map(({ check, promise, count, violations }) => (
          <Check
            key={check}
            level="bad"
            words={`${check} (promise ${promise})`}
            count={count}
            found={violations}
          />
        ))}
        {audit && (
          <Check
            level="warn"
            words={WAITING}
            found={audit.waitingForOperator.orders}
            {...audit.waitingForOperator}
          />
        )}
      </ul>
      <div class="question-buttons">
        <button type="button" class="button" disabled={isChecking} onClick={check}>
          <Icon name="retry" />
          {isChecking ? "Auditing…" : "Audit again"}
        </button>
      </div>
    </>
  );
}

const WAITING = "Orders that an open dead letter holds up: no violation, somebody decides";

interface CheckProps {
  /** How it is where anything was found. */
  readonly level: Level;
  readonly words: string;
  readonly count: number;
  readonly found: AuditJson["waitingForOperator"]["orders"];
}

function Check({ level: worst, words, count, found }: CheckProps) {
  const level = count === 0 ? "good" : worst;
  return (
    <li class={level}>
      <Icon name={level} />
      <span>{words}</span>
      <b>{count === 0 ? "none" : counted(count, "order")}</b>
      <ul>
        {found.map(({ orderId, eventId, detail }) => (
          <li key={`${orderId} ${eventId} ${detail}`}>
            <OrderLink id={orderId} /> {detail}
          </li>
        ))}
        {count > found.length && <li class="muted">and {formatCount(count - found.length)} more</li>}
      </ul>
    </li>
  );
}
