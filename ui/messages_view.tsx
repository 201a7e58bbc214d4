/**
 * The messages: one list over outbox, queues, retries, dead letters and inbox, with how many there are of each.
 *
 * @module
 */
import type { ComponentChildren, FunctionComponent } from "preact";
import { useState } from "preact/hooks";
import type {
  DeadLetterJson,
  OutboxEventJson,
  ProcessedEventJson,
  ReplayJson,
} from "../shared/ops/answers.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { StoryQueue } from "../shared/ops/story.ts";
import { problemOf } from "./api.ts";
import { Filter, type FilterName, When } from "./controls.tsx";
import { type Column, DataTable } from "./data_table.tsx";
import { counted, formatCount, formatDuration, shortId, sumOf } from "./format.ts";
import { Badge, Icon, Notice, OrderLink } from "./marks.tsx";
import { LetterState } from "./message_dialog.tsx";
import { type Page, usePage } from "./page_data.ts";
import { type LetterFilter, ReplayState, replayWords } from "./send_again.tsx";
import { formatView, type List, LISTS, START_VIEW } from "./url_state.ts";
import { useHold, useRows } from "./use_rows.ts";

/** A list of messages, and what there is to know of it. */
interface ListSpec<T> {
  readonly filters: readonly FilterName[];
  /** One page of it, by the filters of the view. */
  readonly load: (page: Page) => Promise<{ readonly rows: readonly T[]; readonly nextCursor: string | null }>;
  readonly keyOf: (row: T) => string;
  readonly columns: (page: Page) => readonly Column<T>[];
  /** What to say where there is nothing. */
  readonly empty: string;
  /** What can be done with all that match. */
  readonly actions?: (page: Page, rows: readonly T[]) => ComponentChildren;
}

const WORDS: Readonly<Record<List, readonly [name: string, about: string]>> = {
  all: ["All events", "Everything that was appended to the outbox, newest first."],
  waiting: ["Waiting", "Appended, and not yet confirmed by the broker."],
  queued: [
    "In queue",
    "At the broker. It tells how many, not which: an order's film shows where its messages are.",
  ],
  retrying: ["Retrying", "Failed, rolled back, and to be tried again. An order's film tells which, and why."],
  dead: ["Dead", "Given up on by a consumer, byte for byte. Nothing is lost: somebody decides."],
  done: [
    "Done",
    "The inbox: a row for each event and consumer, committed with the effect. It absorbs repeats.",
  ],
  again: [
    "Send again",
    "Published events, sent to their consumers once more: what was processed is absorbed.",
  ],
};

/** How many messages a list has by the pulse; null where it does not tell. */
function countOf(list: List, { outbox, queues, retries, deadLetters }: LivePulse): number | null {
  if (list === "waiting") return outbox.pending;
  if (list === "queued") return queues?.reduce((total, { messages }) => total + messages, 0) ?? null;
  return list === "retrying" ? sumOf(retries) : list === "dead" ? sumOf(deadLetters) : null;
}

export function MessagesView() {
  const { view, pulse } = usePage();
  const [name, about] = WORDS[view.list];
  const Shown = VIEWS[view.list];
  return (
    <section class="card messages" aria-labelledby="messages-title">
      <h2 id="messages-title" class="visually-hidden">Messages: {name}</h2>
      <nav class="facets" aria-label="Lists">
        {LISTS.map((list) => {
          const count = countOf(list, pulse);
          const href = formatView({ ...START_VIEW, tab: "messages", list });
          return (
            <a key={list} href={href} aria-current={list === view.list ? "page" : undefined}>
              {WORDS[list][0]}
              {count !== null && (
                <span class={`count ${count === 0 ? "" : list === "dead" ? "bad" : "warn"}`}>
                  {formatCount(count)}
                </span>
              )}
            </a>
          );
        })}
      </nav>
      <p class="card-foot muted">{about}</p>
      <Shown key={view.list} />
    </section>
  );
}

/** Makes the view of a list that comes from the server, page by page. */
function listing<T>({ filters, load, keyOf, columns, empty, actions }: ListSpec<T>): FunctionComponent {
  return function Listing() {
    const page = usePage();
    const { view, pulse, isStale, done } = page;
    const { isHeld, handlers } = useHold();
    const { list, type, consumer, reason, state, about, cursor } = view;
    const key = JSON.stringify([list, type, consumer, reason, state, about, cursor, done]);
    const { rows, nextCursor, problem, isLoading, refresh } = useRows(() => load(page), key, {
      tick: pulse.at,
      isHeld: isHeld || isStale,
    });
    const freshness = isLoading
      ? "Loading"
      : isStale
      ? "Not live"
      : isHeld
      ? "Held while you point at it"
      : "Live";
    return (
      <div {...handlers}>
        {filters.length > 0 && (
          <div class="filters" role="search" aria-label="Filter the list">
            {filters.map((name) => <ViewFilter key={name} name={name} />)}
            {rows && actions?.(page, rows)}
          </div>
        )}
        {problem !== null && (
          <Notice level="bad">
            {problem} <button type="button" class="button" onClick={refresh}>Try again</button>
          </Notice>
        )}
        {rows === null && problem === null && <p class="empty" role="status">Loading…</p>}
        {rows?.length === 0 && <p class="empty">{empty}</p>}
        {rows && rows.length > 0 && (
          <DataTable caption={WORDS[list][0]} columns={columns(page)} rows={rows} keyOf={keyOf} />
        )}
        <div class="card-foot">
          <span class="muted">{problem === null ? freshness : "Not up to date"}</span>
          {cursor && (
            <a href={formatView({ ...view, cursor: "" })}>
              <Icon name="left" />Newest
            </a>
          )}
          {nextCursor && (
            <a href={formatView({ ...view, cursor: nextCursor })}>
              Older<Icon name="chevron" />
            </a>
          )}
        </div>
      </div>
    );
  };
}

/** A filter whose value is in the address; an id gets there once it is whole. */
function ViewFilter({ name }: { readonly name: FilterName }) {
  const { view, navigate } = usePage();
  const [typed, setTyped] = useState(view.about);
  if (name !== "order" && name !== "event") {
    return (
      <Filter
        name={name}
        value={view[name]}
        onChange={(value) => navigate({ [name]: value, cursor: "" }, "replace")}
      />
    );
  }
  const change = (value: string) => {
    setTyped(value);
    const about = value.trim().toLowerCase();
    if (about === "" || about.length === 36) navigate({ about, cursor: "" }, "replace");
  };
  return <Filter name={name} value={typed} onChange={change} />;
}

const events = (empty: string) =>
  listing<OutboxEventJson>({
    filters: ["type", "order"],
    load: async ({ api, view: { list, type, about: orderId, cursor } }) => {
      const query = { type, orderId, cursor, ...(list === "waiting" ? { published: false } : {}) };
      const { events, nextCursor } = await api.listOutbox(query);
      return { rows: events, nextCursor };
    },
    keyOf: ({ id }) => id,
    empty,
    columns: ({ view }) => [
      ["Event", ({ id, type }) => <a href={formatView({ ...view, event: id })}>{type}</a>],
      ["Order", ({ orderId }) => <OrderLink id={orderId} />],
      ["Appended", ({ occurredAt }) => <When at={occurredAt} />],
      ["Published", (event) => <Published event={event} />],
    ],
  });

function Published(
  { event: { occurredAt, publishedAt, retryCount } }: { readonly event: OutboxEventJson },
) {
  const took = publishedAt && formatDuration(Date.parse(publishedAt) - Date.parse(occurredAt));
  return (
    <>
      {took === null
        ? <Badge tone="warn" icon="clock">waits</Badge>
        : <Badge tone="good" icon="check">after {took}</Badge>}
      {retryCount > 0 && (
        <>
          {" "}
          <Badge tone="warn">refused {counted(retryCount, "time")}</Badge>
        </>
      )}
    </>
  );
}

const Inbox = listing<ProcessedEventJson>({
  filters: ["consumer", "event"],
  load: async ({ api, view: { consumer, about: eventId, cursor } }) => {
    const { processedEvents, nextCursor } = await api.listInbox({ consumer, eventId, cursor });
    return { rows: processedEvents, nextCursor };
  },
  keyOf: ({ eventId, consumer }) => `${eventId} ${consumer}`,
  empty: "Nothing has been processed that matches.",
  columns: ({ view }) => [
    [
      "Event",
      ({ eventId: event }) => <a class="mono" href={formatView({ ...view, event })}>{shortId(event)}</a>,
    ],
    ["Consumer", ({ consumer }) => consumer],
    ["Processed", ({ processedAt }) => <When at={processedAt} />],
    [
      "Absorbed",
      ({ duplicates }) =>
        duplicates > 0
          ? <Badge tone="warn" icon="copies">{counted(duplicates, "repeat")}</Badge>
          : <span class="muted">none</span>,
    ],
  ],
});

const Letters = listing<DeadLetterJson>({
  filters: ["state", "consumer", "reason", "type", "order"],
  load: async ({ api, view: { state, consumer, reason, type, about: orderId, cursor } }) => {
    const query = { consumer, reason, type, orderId, cursor, state: state || "OPEN" };
    const { deadLetters, nextCursor } = await api.listLetters(query);
    return { rows: deadLetters, nextCursor };
  },
  keyOf: ({ id }) => id,
  empty: "No dead letter is here. What consumers give up on is kept until somebody decides.",
  columns: (page) => [
    ["Message", ({ id, eventType, consumer }) => (
      <>
        <a href={formatView({ ...page.view, letter: id })}>{eventType ?? "unreadable"}</a>
        <small class="muted">{consumer}</small>
      </>
    )],
    ["Reason", ({ reason, attempts }) => (
      <>
        <b>{reason}</b>
        <small class="muted">{counted(attempts, "attempt")}</small>
      </>
    )],
    ["Order", ({ orderId }) => orderId ? <OrderLink id={orderId} /> : <span class="muted">unknown</span>],
    ["Given up", ({ lastFailedAt }) => <When at={lastFailedAt} />],
    [
      "State",
      (letter) =>
        letter.state === "OPEN"
          ? <LetterButtons filter={{ id: letter.id }} words={["Send again", "Discard"]} />
          : <LetterState letter={letter} />,
    ],
  ],
  actions: ({ view: { state, consumer, reason, type, about: orderId } }, rows) =>
    state === "" && rows.length > 0 && (
      <LetterButtons
        filter={{ consumer, reason, type, orderId }}
        words={["Send all that match…", "Discard all that match…"]}
      />
    ),
});

interface LetterButtonsProps {
  readonly filter: LetterFilter;
  readonly words: readonly [send: string, discard: string];
}

function LetterButtons({ filter, words: [sendWords, discardWords] }: LetterButtonsProps) {
  const { send } = usePage();
  return (
    <span class="actions">
      <button type="button" class="button" onClick={() => send({ filter, isDiscard: false })}>
        {sendWords}
      </button>
      <button type="button" class="button danger" onClick={() => send({ filter, isDiscard: true })}>
        {discardWords}
      </button>
    </span>
  );
}

const Replays = listing<ReplayJson>({
  filters: ["type", "consumer", "from", "to", "order", "correlation"],
  actions: () => <PrepareReplay />,
  load: async ({ api, view: { cursor } }) => {
    const { replays, nextCursor } = await api.listReplays({ cursor });
    return { rows: replays, nextCursor };
  },
  keyOf: ({ id }) => id,
  empty:
    "Nothing has been replayed yet. Fill in at least one field: the set is shown before anything is sent.",
  columns: ({ view }) => [
    ["What", (replay) => <a href={formatView({ ...view, replay: replay.id })}>{replayWords(replay)}</a>],
    ["State", (replay) => <ReplayState replay={replay} />],
    ["Sent", ({ sent, total }) => `${formatCount(sent)} of ${formatCount(total)}`],
    ["Written down", ({ createdAt }) => <When at={createdAt} />],
  ],
});

/** Has the server write down the set of a replay; it is shown before anything is sent. */
function PrepareReplay() {
  const { api, view: { type, consumer, from, to, about: orderId, correlation: correlationId }, navigate } =
    usePage();
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const filter = { type, consumer, from: utc(from), to: utc(to), orderId, correlationId };
  const isEmpty = Object.values(filter).every((value) => value === "");
  const prepare = async () => {
    setBusy(true);
    try {
      navigate({ replay: (await api.prepareReplay(filter)).id });
      setProblem(null);
    } catch (error) {
      setProblem(problemOf(error));
    }
    setBusy(false);
  };
  return (
    <span class="actions">
      <button type="button" class="button primary" disabled={isBusy || isEmpty} onClick={prepare}>
        {isBusy ? "Counting…" : "Show what that is"}
      </button>
      {problem !== null && <Notice level="bad">{problem}</Notice>}
    </span>
  );
}

/** What a field of a local time holds, taken as UTC, which is what the page shows everywhere. */
function utc(local: string): string {
  if (local === "") return "";
  return /:\d\d:\d\d/.test(local) ? `${local}Z` : `${local}:00Z`;
}

/** What is at the broker, or to be tried again: by queue, as nobody tells more. */
function Queues() {
  const { queues, pulse } = usePage();
  const depthOf = (name: string) => pulse.queues?.find(({ queue }) => queue === name);
  const columns: Column<StoryQueue>[] = [
    ["Queue", ({ name }) => <b>{name}</b>],
    ["Bound to", ({ bindings }) => bindings.join(", ")],
    ["In queue", ({ name }) => formatCount(depthOf(name)?.messages ?? 0)],
    ["To be tried again", ({ name }) => formatCount(pulse.retries[name] ?? 0)],
    ["Consumers", ({ name }) => {
      const count = depthOf(name)?.consumers;
      return count
        ? formatCount(count)
        : <Badge tone="bad" icon="cross">{count === 0 ? "none" : "unreachable"}</Badge>;
    }],
  ];
  return <DataTable caption="Queues" rows={queues} keyOf={({ name }) => name} columns={columns} />;
}

const VIEWS: Readonly<Record<List, FunctionComponent>> = {
  all: events("No event matches."),
  waiting: events("Nothing waits: all is published."),
  queued: Queues,
  retrying: Queues,
  dead: Letters,
  done: Inbox,
  again: Replays,
};
