/**
 * One replay: what it consists of, its progress, and what can be done with it.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import { type ApiClient, problemOf } from "./api_client.ts";
import { ConfirmDialog } from "./confirm_dialog.tsx";
import { shortId } from "./format.ts";
import { TextField } from "./form_fields.tsx";
import { Icon, type IconName } from "./icon.tsx";
import { counted, formatCount, formatSeconds } from "./number_format.ts";
import type { ReplayJson } from "../shared/ops/answers.ts";
import { OrderLink } from "./order_link.tsx";
import type { Rendered } from "./rendered.ts";
import { useRows } from "./use_rows.ts";

/** Messages per second unless told otherwise, and at most: the API's rules. */
const [DEFAULT_RATE, MAX_RATE] = [200, 5000];

/** What the view needs. */
export interface ReplayViewProps {
  /** The routes. */
  readonly api: ApiClient;
  /** The replay as it was when the view was opened. */
  readonly initial: ReplayJson;
  /** Its state has changed. */
  readonly onChange: () => void;
  /** It is no longer wanted. */
  readonly onClose: () => void;
  /** Selects an order. */
  readonly onSelectOrder: (orderId: string) => void;
}

/** Shows a replay, and follows it while it runs. */
export function ReplayView({ api, initial, onChange, onClose, onSelectOrder }: ReplayViewProps): Rendered {
  const [replay, setReplay] = useReplay(api, initial);
  const [rate, setRate] = useState(String(DEFAULT_RATE));
  const [asks, setAsks] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const { total, alreadyProcessed, state, lastError, reason } = replay;
  const perSecond = Number(rate);
  const isRate = Number.isInteger(perSecond) && perSecond >= 1 && perSecond <= MAX_RATE;

  async function change(act: () => Promise<ReplayJson>) {
    setProblem(null);
    try {
      setReplay(await act());
    } catch (error) {
      setProblem(problemOf(error));
    }
    onChange();
  }

  return (
    <article class="replay" aria-label={`Replay ${shortId(replay.id)}`}>
      <div class="replay-head">
        <ReplayState replay={replay} />
        <h3>{filterWords(replay)}</h3>
        <button type="button" class="button quiet small" aria-label="Close this replay" onClick={onClose}>
          <Icon name="cross" />
        </button>
      </div>
      <p>
        <b>{counted(total, "message")}</b>, of which {formatCount(alreadyProcessed)}{" "}
        were processed before and will be absorbed. The set is frozen: what is published later is not in it.
      </p>
      {state !== "PREPARED" && <Progress replay={replay} />}
      {reason !== null && <p class="notice warn">Ended early: {reason}</p>}
      {lastError !== null && state === "RUNNING" && (
        <p class="notice warn">The last try failed: {lastError}</p>
      )}
      {problem !== null && <p class="notice bad" role="alert">{problem}</p>}
      <div class="replay-actions">
        {state === "PREPARED" && total > 0 && (
          <>
            <TextField
              label="Messages per second"
              type="number"
              min={1}
              max={MAX_RATE}
              value={rate}
              onChange={setRate}
            />
            <button type="button" class="button primary" disabled={!isRate} onClick={() => setAsks(true)}>
              <Icon name="play" />Start
            </button>
          </>
        )}
        {(state === "PREPARED" || state === "RUNNING") && (
          <button
            type="button"
            class="button danger"
            onClick={() => change(() => api.cancelReplay(replay.id))}
          >
            <Icon name="cross" />Cancel
          </button>
        )}
      </div>
      <ReplaySet api={api} replay={replay} onSelectOrder={onSelectOrder} />
      {asks && (
        <ConfirmDialog
          title={`Send ${counted(total, "message")} once more?`}
          action="Start the replay"
          onClose={() => setAsks(false)}
          onConfirm={() => change(() => api.startReplay(replay.id, perSecond))}
        >
          <p>
            At {formatCount(perSecond)} a second this takes {formatSeconds(total / perSecond)}{" "}
            or a little more.
          </p>
        </ConfirmDialog>
      )}
    </article>
  );
}

/** Between two looks at a replay that runs, in milliseconds; fewer where nobody looks. */
const [LOOK_MS, LOOK_HIDDEN_MS] = [700, 5000];

/** The replay, read again and again until it has ended. */
function useReplay(api: ApiClient, initial: ReplayJson): [ReplayJson, (replay: ReplayJson) => void] {
  const [replay, setReplay] = useState(initial);
  useEffect(() => {
    if (replay.state !== "RUNNING") return;
    const timer = setTimeout(() => {
      // What cannot be read now is tried again: a copy of what is known keeps the wheel turning.
      api.readReplay(replay.id).then(setReplay, () => setReplay((last) => ({ ...last })));
    }, document.hidden ? LOOK_HIDDEN_MS : LOOK_MS);
    return () => clearTimeout(timer);
  }, [replay]);
  return [replay, setReplay];
}

function Progress({ replay }: { readonly replay: ReplayJson }): Rendered {
  const { sent, total, skipped, ratePerSecond } = replay;
  return (
    <div class="replay-progress">
      <progress max={Math.max(total, 1)} value={total === 0 ? 1 : sent} aria-label="Messages dealt with">
      </progress>
      <span>
        <b>{formatCount(sent)}</b> of {formatCount(total)}
        {ratePerSecond !== null && (
          <span class="muted">{` at up to ${formatCount(ratePerSecond)} a second`}</span>
        )}
        {skipped > 0 && <span class="muted">, {formatCount(skipped)} skipped</span>}
      </span>
    </div>
  );
}

interface SetProps {
  readonly api: ApiClient;
  readonly replay: ReplayJson;
  readonly onSelectOrder: (orderId: string) => void;
}

function ReplaySet({ api, replay, onSelectOrder }: SetProps): Rendered {
  const rows = useRows(
    async (cursor) => {
      const { events, nextCursor } = await api.listReplayEvents(replay.id, cursor);
      return { rows: events, nextCursor };
    },
    `${replay.id} ${replay.state}`,
    { pulseAt: undefined, isStale: true, isHeld: true },
  );
  return (
    <details class="replay-set" open>
      <summary>What it consists of</summary>
      {rows.problem !== null && <p class="notice bad" role="alert">{rows.problem}</p>}
      {rows.page?.rows.length === 0 && <p class="muted">Nothing matches: there is nothing to send.</p>}
      {rows.page !== null && rows.page.rows.length > 0 && (
        <table class="data plain" role="table">
          <caption class="visually-hidden">The messages, in the order of sending</caption>
          <thead role="rowgroup">
            <tr role="row">
              {["#", "Event", "Order", "Consumer", "Expected"].map((label) => (
                <th key={label} role="columnheader" scope="col">{label}</th>
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {rows.page.rows.map((row) => (
              <tr key={row.position} role="row">
                <td role="cell" data-label="#" class="muted">{row.position}</td>
                <td role="cell" data-label="Event">{row.type ?? "pruned meanwhile"}</td>
                <td role="cell" data-label="Order">
                  {row.orderId === null ? "" : <OrderLink id={row.orderId} onSelect={onSelectOrder} />}
                </td>
                <td role="cell" data-label="Consumer">{row.consumer}</td>
                <td role="cell" data-label="Expected">{row.processed ? "absorbed" : "processed"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <div class="table-pages">
        <button type="button" class="button small" disabled={rows.pageNumber === 1} onClick={rows.newer}>
          <Icon name="left" />Previous
        </button>
        <button type="button" class="button small" disabled={!rows.page?.nextCursor} onClick={rows.older}>
          Next<Icon name="chevron" />
        </button>
      </div>
    </details>
  );
}

const MARKS = {
  PREPARED: { level: "info", icon: "clock", word: "prepared" },
  RUNNING: { level: "accent", icon: "play", word: "running" },
  DONE: { level: "good", icon: "check", word: "done" },
  CANCELLED: { level: "", icon: "cross", word: "cancelled" },
} as const satisfies Record<ReplayJson["state"], { level: string; icon: IconName; word: string }>;

/** A replay's state as a badge. */
export function ReplayState({ replay }: { readonly replay: ReplayJson }): Rendered {
  const { level, icon, word } = MARKS[replay.state];
  return (
    <span class={`badge ${level}`}>
      <Icon name={icon} />
      {word}
    </span>
  );
}

const FIELDS: Readonly<Record<string, string>> = {
  type: "",
  consumer: "for",
  from: "from",
  to: "before",
  orderId: "of order",
  correlationId: "of correlation id",
};

/** What was asked for, in words. */
export function filterWords({ filter }: ReplayJson): string {
  const words = Object.entries(FIELDS).flatMap(([field, word]) => {
    const value = filter[field];
    return value === undefined ? [] : [`${word} ${field === "orderId" ? shortId(value) : value}`.trim()];
  });
  return filter.type === undefined ? `events ${words.join(" ")}` : words.join(" ");
}
