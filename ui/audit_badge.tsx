/**
 * The auditor's verdict as a badge, which opens its findings.
 *
 * @module
 */
import { useEffect, useRef, useState } from "preact/hooks";
import { type ApiClient, problemOf } from "./api_client.ts";
import { formatTime } from "./format.ts";
import { Icon } from "./icon.tsx";
import { Modal } from "./modal.tsx";
import { counted, formatCount } from "./number_format.ts";
import type { AuditJson } from "../shared/ops/answers.ts";
import { OrderLink } from "./order_link.tsx";
import type { PanelProps } from "./panel_props.ts";
import type { Rendered } from "./rendered.ts";
import { StatusMark } from "./status_mark.tsx";

/** Between two audits that nobody asked for, in milliseconds: each reads the whole database. */
const AUDIT_EVERY_MS = 60_000;
/** How often to look whether one is due, in milliseconds. */
const LOOK_MS = 5000;
/** The first one waits for the page to be at rest, so many milliseconds at most. */
const IDLE_TIMEOUT_MS = 3000;

interface Verdict {
  readonly audit: AuditJson | null;
  readonly problem: string | null;
  readonly isChecking: boolean;
}

/** Shows whether every promise holds. */
export function AuditBadge({ api, isStale, onSelectOrder }: PanelProps): Rendered {
  const [verdict, check] = useAudit(api, isStale);
  const [isOpen, setOpen] = useState(false);
  const { level, words } = wordsOf(verdict);
  return (
    <>
      <button
        type="button"
        class={`badge audit-badge ${level ?? ""}`}
        aria-haspopup="dialog"
        title="Checked over the whole database: open the findings"
        onClick={() => setOpen(true)}
      >
        {level ? <StatusMark level={level} /> : <Icon name="clock" />}
        {words}
      </button>
      {isOpen && (
        <Modal title="The auditor's findings" isWide onClose={() => setOpen(false)}>
          <Findings
            verdict={verdict}
            onCheck={check}
            onSelect={(id) => {
              setOpen(false);
              onSelectOrder(id);
            }}
          />
        </Modal>
      )}
    </>
  );
}

/** Audits once the page is at rest, then about every minute while somebody looks, and whenever it is asked for. */
function useAudit(api: ApiClient, isStale: boolean): [Verdict, () => Promise<void>] {
  const [verdict, setVerdict] = useState<Verdict>({ audit: null, problem: null, isChecking: false });
  const isBusy = useRef(false);
  const startedAt = useRef(-Infinity);
  async function check() {
    if (isBusy.current) return;
    isBusy.current = true;
    startedAt.current = performance.now();
    setVerdict((last) => ({ ...last, isChecking: true }));
    try {
      setVerdict({ audit: await api.readAudit(), problem: null, isChecking: false });
    } catch (error) {
      const problem = problemOf(error);
      setVerdict((last) => ({ ...last, problem, isChecking: false }));
    } finally {
      isBusy.current = false;
    }
  }
  useEffect(() => {
    if (isStale) return;
    const checkIfDue = () => {
      if (!document.hidden && performance.now() - startedAt.current >= AUDIT_EVERY_MS) void check();
    };
    const cancel = whenIdle(checkIfDue);
    const timer = setInterval(checkIfDue, LOOK_MS);
    return () => {
      cancel();
      clearInterval(timer);
    };
  }, [isStale]);
  return [verdict, check];
}

/** Not every browser can tell when it is idle. */
function whenIdle(run: () => void): () => void {
  if (typeof requestIdleCallback === "function") {
    const handle = requestIdleCallback(run, { timeout: IDLE_TIMEOUT_MS });
    return () => cancelIdleCallback(handle);
  }
  const timer = setTimeout(run, IDLE_TIMEOUT_MS);
  return () => clearTimeout(timer);
}

/** How many violations an audit has found. */
export function violations({ checks }: AuditJson): number {
  return checks.reduce((sum, { count }) => sum + count, 0);
}

function wordsOf({ audit, problem }: Verdict): { level: "good" | "warn" | "bad" | null; words: string } {
  if (problem !== null) return { level: "warn", words: "Audit could not run" };
  if (audit === null) return { level: null, words: "Auditing…" };
  if (audit.ok) return { level: "good", words: "Every promise holds" };
  return { level: "bad", words: counted(violations(audit), "violation") };
}

interface FindingsProps {
  readonly verdict: Verdict;
  readonly onCheck: () => Promise<void>;
  readonly onSelect: (orderId: string) => void;
}

function Findings({ verdict, onCheck, onSelect }: FindingsProps): Rendered {
  const { audit, problem, isChecking } = verdict;
  return (
    <div class="findings">
      <div class="findings-head">
        {audit === null ? <p role="status">No audit has been finished yet.</p> : (
          <p role="status">
            {formatCount(audit.orders)} orders and {formatCount(audit.events)} events in one snapshot of{" "}
            {formatTime(audit.checkedAt)} UTC. What follows from an event may take {audit.graceSeconds} s.
          </p>
        )}
        <button type="button" class="button" disabled={isChecking} onClick={onCheck}>
          <Icon name="retry" />
          {isChecking ? "Auditing…" : "Audit again"}
        </button>
      </div>
      {problem !== null && <p class="notice warn" role="alert">The last audit could not run. {problem}</p>}
      {audit && (
        <ul class="checks">
          {audit.checks.map(({ check, promise, count, violations }) => (
            <li key={check}>
              <StatusMark level={count === 0 ? "good" : "bad"} />
              <span class="check-words">{check}</span>
              <span class="muted">promise {promise}</span>
              <b>{count === 0 ? "none" : counted(count, "violation")}</b>
              {violations.length > 0 && <FoundList found={violations} count={count} onSelect={onSelect} />}
            </li>
          ))}
          <li>
            <StatusMark level={audit.waitingForOperator.count === 0 ? "good" : "warn"} />
            <span class="check-words">
              Orders that an open dead letter holds up (no violation: somebody decides)
            </span>
            <b>
              {audit.waitingForOperator.count === 0 ? "none" : formatCount(audit.waitingForOperator.count)}
            </b>
            {audit.waitingForOperator.count > 0 && (
              <FoundList
                found={audit.waitingForOperator.orders}
                count={audit.waitingForOperator.count}
                onSelect={onSelect}
              />
            )}
          </li>
        </ul>
      )}
    </div>
  );
}

interface FoundProps {
  readonly found: AuditJson["checks"][number]["violations"];
  readonly count: number;
  readonly onSelect: (orderId: string) => void;
}

function FoundList({ found, count, onSelect }: FoundProps): Rendered {
  return (
    <ul class="found">
      {found.map(({ orderId, eventId, detail }) => (
        <li key={`${orderId} ${eventId} ${detail}`}>
          <OrderLink id={orderId} onSelect={onSelect} /> {detail}
        </li>
      ))}
      {count > found.length && <li class="muted">and {formatCount(count - found.length)} more</li>}
    </ul>
  );
}
