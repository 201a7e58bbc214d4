/**
 * Sending again: dead letters to their consumers, or published events to theirs. The dialog counts first and shows the set; what
 * is sent is that very set, and nothing that came meanwhile.
 *
 * @module
 */
import { useEffect, useRef, useState } from "preact/hooks";
import type { DeadLetterJson, RedrivenJson, ReplayJson } from "../shared/ops/answers.ts";
import { type ApiClient, problemOf } from "./api.ts";
import { NumberField } from "./controls.tsx";
import { DataTable } from "./data_table.tsx";
import { Dialog, Question } from "./dialog.tsx";
import { counted, formatCount, formatDuration, shortId } from "./format.ts";
import { Badge, Icon, Notice, OrderLink } from "./marks.tsx";
import { usePage } from "./page_data.ts";
import { useLoaded } from "./use_rows.ts";

/** Which open dead letters; one alone by its id. */
export type LetterFilter =
  | { readonly id: string }
  | Readonly<Record<"consumer" | "reason" | "type" | "orderId", string>>;

/** The dead letters that are to be sent again, or discarded. */
export interface Sending {
  readonly filter: LetterFilter;
  readonly isDiscard: boolean;
}

interface DialogProps {
  /** Something was sent or discarded. */
  readonly onDone: () => void;
  readonly onClose: () => void;
}

/** Letters that one dialog deals with at most, and in one request: the API's rule is 100 ids. */
const [MAX_LETTERS, BATCH] = [1000, 100];

/** Sends dead letters again, or discards them: those that matched when it was opened. */
export function LettersDialog(
  { sending, onDone, onClose }: DialogProps & { readonly sending: Sending },
) {
  const { filter, isDiscard } = sending;
  const { api } = usePage();
  const [letters, problem] = useLoaded(() => openLetters(api, filter), filter);
  const [handled, setHandled] = useState<number | null>(null);
  const isStopped = useRef(false);
  useEffect(() => () => void (isStopped.current = true), []);
  const count = letters?.length ?? 0;

  async function act(reason: string): Promise<string> {
    const ids = letters?.map(({ id }) => id) ?? [];
    const said: string[] = [];
    let next = 0;
    for (; next < ids.length && !isStopped.current; next += BATCH) {
      setHandled(next);
      const batch = ids.slice(next, next + BATCH);
      said.push(
        isDiscard
          ? `Discarded ${formatCount((await api.discardLetters(batch, reason)).discarded)}: ${reason}.`
          : sentWords(await api.redriveLetters(batch)),
      );
    }
    setHandled(null);
    onDone();
    return next < ids.length
      ? `${said.join(" ")} Stopped: ${formatCount(ids.length - next)} left alone.`
      : said.join(" ");
  }

  const groups = Map.groupBy(letters ?? [], ({ consumer, reason }) => `${consumer}: ${reason}`);
  const action = isDiscard ? "Discard" : "Send again";
  return (
    <Dialog title={action} onClose={onClose}>
      <Question
        action={`${action}: ${counted(count, "letter")}`}
        isDangerous={isDiscard}
        isReady={count > 0}
        {...(isDiscard ? { reasonLabel: "Why is it discarded?" } : {})}
        onConfirm={act}
      >
        {problem !== null && <Notice level="bad">{problem}</Notice>}
        {letters === null && problem === null && <p role="status">Counting what matches…</p>}
        {letters && (
          <p>
            <b>{counted(count, "dead letter")}</b>. This set is fixed: what comes later is not in it.
            {count >= MAX_LETTERS && " There may be more: these are the newest."}
          </p>
        )}
        <ul class="expected">
          {[...groups].map(([name, of]) => <li key={name}>{formatCount(of.length)} of {name}</li>)}
        </ul>
        <p class="muted">
          {isDiscard
            ? "The work is given up permanently. The letters stay readable, with your reason."
            : "Each goes to its own consumer's queue, and to nobody else. What was processed meanwhile is closed unsent."}
        </p>
        {handled !== null && (
          <div class="progress">
            <progress max={count} value={handled} aria-label="Letters dealt with" />
            <button type="button" class="button" onClick={() => void (isStopped.current = true)}>
              Stop here
            </button>
          </div>
        )}
      </Question>
    </Dialog>
  );
}

/** The open letters that match, newest first, as many as one dialog deals with. */
export async function openLetters(
  api: Pick<ApiClient, "listLetters" | "readLetter">,
  filter: LetterFilter,
): Promise<readonly DeadLetterJson[]> {
  if ("id" in filter) return [await api.readLetter(filter.id)].filter(({ state }) => state === "OPEN");
  const found: DeadLetterJson[] = [];
  for (let cursor: string | null = ""; cursor !== null && found.length < MAX_LETTERS;) {
    const query = { ...filter, state: "OPEN", limit: BATCH, cursor };
    const page: Awaited<ReturnType<ApiClient["listLetters"]>> = await api.listLetters(query);
    found.push(...page.deadLetters);
    cursor = page.nextCursor;
  }
  return found;
}

/** What a redrive came to, such as `Sent 3 again, 1 processed already.` */
export function sentWords({ redriven, alreadyProcessed, refused }: RedrivenJson): string {
  const parts = [`Sent ${formatCount(redriven)} again`];
  if (alreadyProcessed > 0) parts.push(`${formatCount(alreadyProcessed)} processed already`);
  if (refused.length > 0) parts.push(`${formatCount(refused.length)} still open (${refused[0]?.error})`);
  return `${parts.join(", ")}.`;
}

/** Messages per second by default, and at most: the API's rules. */
const [DEFAULT_RATE, MAX_RATE] = [200, 5000];
/** Between two looks at a replay that runs, in milliseconds. */
const FOLLOW_MS = 700;

/** A replay: the set that the server has written down, and sending, following and cancelling it. */
export function ReplayDialog({ id, onDone, onClose }: DialogProps & { readonly id: string }) {
  const { api } = usePage();
  const [replay, setReplay] = useState<ReplayJson | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const change = (act: () => Promise<ReplayJson>) => {
    act().then(setReplay).then(() => setProblem(null), (error) => setProblem(problemOf(error))).finally(
      onDone,
    );
  };
  useEffect(() => {
    if (replay && replay.state !== "RUNNING") return;
    const timer = setTimeout(() => {
      api.readReplay(id).then(setReplay, (error) => {
        setProblem(problemOf(error));
        setReplay((last) => last && { ...last }); // what cannot be read now is tried again
      });
    }, replay ? FOLLOW_MS : 0);
    return () => clearTimeout(timer);
  }, [replay]);
  return (
    <Dialog title="Send again" isWide onClose={onClose}>
      {problem !== null && <Notice level="bad">{problem}</Notice>}
      {replay
        ? <Replay replay={replay} change={change} />
        : problem === null && <p role="status">Reading the set…</p>}
    </Dialog>
  );
}

interface ReplayProps {
  readonly replay: ReplayJson;
  readonly change: (act: () => Promise<ReplayJson>) => void;
}

function Replay({ replay, change }: ReplayProps) {
  const { api } = usePage();
  const [rate, setRate] = useState(String(DEFAULT_RATE));
  const perSecond = Number(rate);
  const isRate = Number.isInteger(perSecond) && perSecond >= 1 && perSecond <= MAX_RATE;
  const { id, total, alreadyProcessed, state, lastError, reason, sent, skipped } = replay;
  const takes = isRate ? `, in ${formatDuration(total / perSecond * 1000)}` : "";
  return (
    <>
      <p>
        <ReplayState replay={replay} /> <b>{counted(total, "message")}</b> of {replayWords(replay)}:{" "}
        {formatCount(alreadyProcessed)} to be absorbed, {formatCount(total - alreadyProcessed)}{" "}
        to be processed, by the inbox when the set was written down. What is published later is not in it.
      </p>
      {state !== "PREPARED" && (
        <div class="progress">
          <progress
            max={Math.max(total, 1)}
            value={total === 0 ? 1 : sent}
            aria-label="Messages dealt with"
          />
          {formatCount(sent)} of {formatCount(total)}
          {skipped > 0 && `, ${formatCount(skipped)} skipped`}
        </div>
      )}
      {reason !== null && <Notice level="warn">Ended early: {reason}</Notice>}
      {lastError !== null && state === "RUNNING" && (
        <Notice level="warn">The last try failed: {lastError}</Notice>
      )}
      <ReplaySet replay={replay} />
      <div class="question-buttons">
        {state === "PREPARED" && total > 0 && (
          <>
            <NumberField label="Messages per second" min={1} max={MAX_RATE} value={rate} onChange={setRate} />
            <button
              type="button"
              class="button primary"
              disabled={!isRate}
              onClick={() => change(() => api.startReplay(id, perSecond))}
            >
              <Icon name="play" />Send {formatCount(total)} again{takes}
            </button>
          </>
        )}
        {(state === "PREPARED" || state === "RUNNING") && (
          <button
            type="button"
            class="button danger"
            onClick={() => change(() => api.cancelReplay(id))}
          >
            Cancel it
          </button>
        )}
      </div>
    </>
  );
}

/** The first messages of a replay, in the order of sending. */
function ReplaySet({ replay: { id, total } }: { readonly replay: ReplayJson }) {
  const { api } = usePage();
  const [page, problem] = useLoaded(() => api.listReplayEvents(id), id);
  if (problem !== null) return <Notice level="bad">{problem}</Notice>;
  if (page === null) return <p role="status">Reading the set…</p>;
  if (page.events.length === 0) return <p class="muted">Nothing matches: there is nothing to send.</p>;
  const more = total - page.events.length;
  return (
    <>
      <DataTable
        caption="The messages, in the order of sending"
        rows={page.events}
        keyOf={({ position }) => String(position)}
        columns={[
          ["#", ({ position }) => position],
          ["Event", ({ type }) => type ?? "pruned meanwhile"],
          ["Order", ({ orderId }) => orderId === null ? "" : <OrderLink id={orderId} />],
          ["Consumer", ({ consumer }) => consumer],
          ["Expected", ({ processed }) => processed ? "absorbed" : "processed"],
        ]}
      />
      {more > 0 && <p class="muted">and {formatCount(more)} more</p>}
    </>
  );
}

const REPLAY_STATES = {
  PREPARED: ["info", "clock"],
  RUNNING: ["accent", "play"],
  DONE: ["good", "check"],
  CANCELLED: ["", "cross"],
} as const;

export function ReplayState({ replay: { state } }: { readonly replay: ReplayJson }) {
  const [tone, icon] = REPLAY_STATES[state];
  return <Badge tone={tone} icon={icon}>{state.toLowerCase()}</Badge>;
}

/** What a replay was asked for, in words. */
export function replayWords({ filter }: Pick<ReplayJson, "filter">): string {
  const { type = "events", consumer, from, to, orderId, correlationId } = filter;
  return [
    type,
    ...(consumer ? [`for ${consumer}`] : []),
    ...(from ? [`from ${from}`] : []),
    ...(to ? [`before ${to}`] : []),
    ...(orderId ? [`of order ${shortId(orderId)}`] : []),
    ...(correlationId ? [`of correlation id ${correlationId}`] : []),
  ].join(" ");
}
