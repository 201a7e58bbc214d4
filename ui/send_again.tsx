// Sending again, whatever it is: a set of messages that the server has written down is shown first, with to whom they go and
// what is expected. What is sent, or discarded, is that very set, and nothing that came meanwhile.

import type { ComponentProps } from "preact";
import type { ReplayEventJson, ReplayJson, ReplayOutcome } from "../shared/ops/answers.ts";
import { counted, formatCount } from "../shared/words.ts";
import { Button, Choice, type Column, Dialog, Field, MessageLink, submitted, Table } from "./controls.tsx";
import { useAction, useFresh, usePage } from "./hooks.ts";
import { Badge, Notice, OrderLink } from "./marks.tsx";

type Prepare = () => Promise<Pick<ReplayJson, "id">>;

/** Has a set written down, and opens it: nothing is sent before somebody has seen what. */
function usePrepare() {
  const { navigate } = usePage();
  const { act, ...state } = useAction();
  const prepare = (prepare: Prepare) =>
    act(async () => navigate({ set: (await prepare()).id, event: null, letter: null, panel: "" }));
  return { ...state, prepare };
}

interface PrepareProps extends Pick<ComponentProps<typeof Button>, "icon" | "disabled" | "children"> {
  readonly of: Prepare;
}

export function PrepareButton({ of, children, disabled = false, ...others }: PrepareProps) {
  const { isBusy, problem, prepare } = usePrepare();
  return (
    <>
      <Button {...others} disabled={disabled || isBusy} onClick={() => prepare(of)}>
        {isBusy ? "Counting…" : children}
      </Button>
      {problem !== null && <Notice level="bad">{problem}</Notice>}
    </>
  );
}

const FILTERS = ["type", "consumer", "from", "to", "orderId", "correlationId"] as const;

/** Asks which published events are to be sent again. */
export function EventsDialog() {
  const { api, view: { type, consumer } } = usePage();
  const { isBusy, problem, prepare } = usePrepare();
  const time = { type: "datetime-local", step: 1 } as const;
  const submit = (event: Event) => {
    const { from, to, ...filter } = submitted(event, ...FILTERS);
    void prepare(() => api.prepareEvents({ ...filter, from: utc(from), to: utc(to) }));
  };
  return (
    <Dialog title="Send events again" problem={problem}>
      <p class="muted">
        Published events go to their consumers once more. Whoever has processed one absorbs it. The set is
        shown before anything is sent.
      </p>
      <form class="filters" onSubmit={submit}>
        <Choice name="type" value={type} />
        <Choice name="consumer" value={consumer} />
        <Field label="From (UTC)" name="from" {...time} />
        <Field label="To (UTC)" name="to" {...time} />
        <Field label="Order id" name="orderId" placeholder="the whole id" />
        <Field label="Correlation id" name="correlationId" placeholder="the whole id" />
        <Button type="submit" look="primary" disabled={isBusy}>
          {isBusy ? "Counting…" : "Show what that is"}
        </Button>
      </form>
    </Dialog>
  );
}

/** What a field of a local time holds, taken as UTC, which is what the page shows everywhere. */
function utc(local: string): string {
  return local && new Date(`${local}Z`).toISOString();
}

type Reached = ReplayOutcome["consumers"][number];

/** What can become of a message, the best first. */
const BECAME: readonly (readonly [became: keyof Reached["became"], words: string, tone: string])[] = [
  ["processed", "processed", "good"],
  ["absorbed", "absorbed: nothing was done twice", "good"],
  ["discarded", "discarded", ""],
  ["waiting", "sent, not settled yet", "info"],
  ["retrying", "to be retried", "warn"],
  ["failed again", "failed again", "bad"],
  ["skipped", "skipped", "warn"],
];

/** A set that the server has written down: what it is, and sending, discarding, following and cancelling it. */
export function SetDialog({ id }: { readonly id: string }) {
  const { api, now } = usePage();
  const read = () => Promise.all([api.readSet(id), api.readOutcome(id), api.listSet(id)]);
  const fresh = useFresh(read, id, { tick: String(Math.floor(now / 1000)) });
  if (!fresh.value) return <Dialog title="Send again" of={fresh} />;
  const [set, { consumers }, { events }] = fresh.value;
  const { total, sent, state, skipped, lastError, reason } = set;
  return (
    <Dialog title="Send again" of={fresh}>
      <p>
        <b>{counted(total, set.action === "REPLAY" ? "message" : "dead letter")}</b>{" "}
        {filterWords(set.filter)}. This set is frozen: what comes later is not in it.
      </p>
      <Table
        caption="To whom they go"
        columns={[...REACHED, state === "PREPARED" ? EXPECTED : CAME]}
        rows={total > 0 ? consumers : []}
        empty="Nothing matches: there is nothing to send."
      />
      {state !== "PREPARED" && total > 0 && (
        <p class="progress" role="status">
          <progress max={total} value={sent} aria-label="Messages dealt with" />
          {state.toLowerCase()}: {formatCount(sent)} of {formatCount(total)}
        </p>
      )}
      {reason !== null && <Notice level="warn">{reason}</Notice>}
      {lastError !== null && (state === "RUNNING" || skipped > 0) && <Notice level="warn">{lastError}
      </Notice>}
      <Decide set={set} onDone={fresh.refresh} />
      <details>
        <summary>{events.length < total ? "The first messages" : "The messages"}</summary>
        <Table caption="The messages, in the order of sending" columns={EVENTS} rows={events} />
      </details>
    </Dialog>
  );
}

/** What a set was asked for by, in words. */
function filterWords(filter: ReplayJson["filter"]): string {
  const said = Object.entries(filter).map(([name, value]) => `${name} ${value}`);
  return said.length === 0 ? "that were chosen" : `with ${said.join(", ")}`;
}

const REACHED: readonly Column<Reached>[] = [
  ["To", ({ consumer }) => consumer],
  ["Messages", ({ total }) => formatCount(total)],
];

const EXPECTED: Column<Reached> = ["Expected", ({ total, alreadyProcessed }) => {
  const absorbed = alreadyProcessed > 0 ? `${formatCount(alreadyProcessed)} to be absorbed, ` : "";
  return `${absorbed}${formatCount(total - alreadyProcessed)} to be processed`;
}];

const CAME: Column<Reached> = ["Became", ({ became }) => (
  <span class="actions">
    {BECAME.map(([name, words, tone]) => {
      const count = became[name] ?? 0;
      return count > 0 && <Badge key={name} tone={tone}>{formatCount(count)} {words}</Badge>;
    })}
  </span>
)];

/** Messages per second, and the longest reason: the API's rules. */
const RATE = { min: 1, max: 5000, defaultValue: "200" };
const MAX_REASON = 500;

/** Sends the set, discards it, or cancels the sending. */
function Decide({ set, onDone }: { readonly set: ReplayJson; readonly onDone: () => void }) {
  const { api } = usePage();
  const { isBusy, problem, act } = useAction();
  const { id, state, total } = set;
  const count = formatCount(total);
  const isOpen = state === "PREPARED" && total > 0;
  const doing = (doing: () => Promise<unknown>) => void act(() => doing().finally(onDone));
  const start = (event: Event) => {
    const { rate } = submitted(event, "rate");
    doing(() => api.startSet(id, Number(rate)));
  };
  const discard = (event: Event) => {
    const { because } = submitted(event, "because");
    doing(() => api.discardSet(id, because));
  };
  return (
    <>
      {problem !== null && <Notice level="bad">{problem}</Notice>}
      {isOpen && (
        <div class="dialog-buttons">
          <form class="dialog-buttons" onSubmit={start}>
            <Field label="Messages per second" name="rate" type="number" required {...RATE} />
            <Button type="submit" look="primary" icon="retry" disabled={isBusy}>Send {count} again</Button>
          </form>
          {set.action === "REDRIVE" && (
            <form class="dialog-buttons" onSubmit={discard}>
              <Field label="Or why are they discarded?" name="because" required maxLength={MAX_REASON} />
              <Button type="submit" look="danger" disabled={isBusy}>Discard {count}</Button>
            </form>
          )}
        </div>
      )}
      {state === "RUNNING" && (
        <div class="dialog-buttons">
          <Button look="danger" disabled={isBusy} onClick={() => doing(() => api.cancelSet(id))}>
            Cancel the rest
          </Button>
        </div>
      )}
    </>
  );
}

const EVENTS: readonly Column<ReplayEventJson>[] = [
  ["Message", (message) => <MessageLink {...message} />],
  ["Order", ({ orderId }) => orderId && <OrderLink id={orderId} />],
  ["Became", ({ became, processed, error }) => {
    return became === "unsent" ? `expected: ${processed ? "absorbed" : "processed"}` : error ?? became;
  }],
];
