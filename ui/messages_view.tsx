// The messages: one row for each event on its way to each consumer, wherever it is, with how many there are of each state;
// and dead letters in groups that failed alike.

import { useState } from "preact/hooks";
import type { DeadLetterJson, LetterGroupJson, MessageJson } from "../shared/ops/answers.ts";
import { counted, duration, formatCount } from "../shared/words.ts";
import {
  Button,
  Choice,
  type Column,
  Field,
  MessageLink,
  submitted,
  Table,
  ViewLink,
  When,
} from "./controls.tsx";
import { type Page, useFresh, usePage, useStill } from "./hooks.ts";
import { Badge, Icon, type IconName, Notice, OrderLink } from "./marks.tsx";
import { PrepareButton } from "./send_again.tsx";
import { type List, LISTS } from "./url_state.ts";

type Look = readonly [name: string, tone: string, icon: IconName, about: string];

/** Each list: its name, how its messages are marked, and what they are. */
const LOOKS: Readonly<Record<List, Look>> = {
  all: ["All", "", "flow", "Each event on its way to each consumer, newest first."],
  waiting: ["Waiting", "warn", "clock", "In the outbox: the broker has not confirmed them yet."],
  queued: ["In queue", "info", "queue", "Published, and not yet settled by their consumer."],
  retrying: ["Retrying", "warn", "retry", "Failed, rolled back, and to be tried again."],
  dead: ["Dead", "bad", "letter", "Given up on, and kept byte for byte. Nothing is lost: somebody decides."],
  absorbed: ["Absorbed", "info", "copies", "Processed, and delivered again since: nothing was done twice."],
  done: ["Done", "good", "check", "Processed: the effect and its inbox row were committed together."],
};

interface Listing {
  readonly messages: readonly MessageJson[];
  /** How many there are in each state; null where this is a further page. */
  readonly counts: Readonly<Record<string, number>> | null;
  readonly groups: readonly LetterGroupJson[];
  readonly nextCursor: string | null;
}

const WHOLE_ID = 36;

/** Which dead letters the view's filters leave. */
function lettersOf({ consumer, type, reason, pattern, about }: Page["view"]) {
  return { consumer, type, reason, pattern, orderId: about.length === WHOLE_ID ? about : "" };
}

async function read({ api, view }: Page): Promise<Listing> {
  const { list, consumer, type, about, pattern, cursor } = view;
  const [isDead, isGroup] = [list === "dead", list === "dead" && pattern !== ""];
  const state = list === "all" ? "" : list;
  const letters = lettersOf(view);
  const [page, groups, group] = await Promise.all([
    api.listMessages({ state, consumer, type, search: about, cursor: isGroup ? "" : cursor }),
    isDead && !isGroup ? api.listGroups(letters) : null,
    isGroup ? api.listLetters({ ...letters, state: "OPEN", cursor }) : null,
  ]);
  return {
    counts: page.counts,
    groups: groups?.groups ?? [],
    messages: group ? group.deadLetters.map(asMessage) : page.messages,
    nextCursor: (group ?? page).nextCursor,
  };
}

function asMessage({ eventType, lastFailedAt, id, ...letter }: DeadLetterJson): MessageJson {
  return { ...letter, type: eventType, state: "dead", sinceAt: lastFailedAt, dueAt: null, deadLetterId: id };
}

export function MessagesView() {
  const page = usePage();
  const { view, pulse, isStale, navigate } = page;
  const { list, consumer, type, about, reason, pattern, cursor } = view;
  const { isStill, handlers } = useStill();
  const key = JSON.stringify([list, consumer, type, about, reason, pattern, cursor, view.set]);
  const { value, problem, isLoading, refresh } = useFresh(() => read(page), key, {
    tick: pulse.at,
    isHeld: isStill || isStale,
  });
  const [name, , , words] = LOOKS[list];
  return (
    <section class="card messages" aria-labelledby="messages-title">
      <h2 id="messages-title" class="visually-hidden">Messages: {name}</h2>
      <Facets counts={value?.counts ?? null} />
      <Filters />
      <p class="card-foot muted">{words}</p>
      {problem !== null && (
        <Notice level="bad">
          {problem} <Button onClick={refresh}>Try again</Button>
        </Notice>
      )}
      {value === null && problem === null && <p class="empty" role="status">Loading…</p>}
      {value && (
        <div aria-busy={isLoading} {...handlers}>
          {pattern !== "" && (
            <Notice level="warn">
              {reason}: {pattern}{" "}
              <ViewLink to={{ reason: "", pattern: "", cursor: "" }}>All dead letters</ViewLink>
            </Notice>
          )}
          {value.groups.length > 0 && <Groups groups={value.groups} />}
          {list === "dead" && value.messages.length > 0
            ? <Letters key={key} messages={value.messages} />
            : <Table caption={name} columns={COLUMNS} rows={value.messages} empty={NONE} />}
          <div class="card-foot">
            <span class="muted">{freshness(isStale || problem !== null, isStill)}</span>
            {cursor && (
              <Button look="quiet accent" icon="left" onClick={() => navigate({ cursor: "" })}>Newest</Button>
            )}
            {value.nextCursor && <ViewLink to={{ cursor: value.nextCursor }}>Older messages</ViewLink>}
          </div>
        </div>
      )}
    </section>
  );
}

function freshness(isOld: boolean, isStill: boolean): string {
  if (isOld) return "Not up to date";
  return isStill ? "Held while you point at it" : "Live";
}

function Facets({ counts }: Pick<Listing, "counts">) {
  const { view } = usePage();
  return (
    <nav class="facets" aria-label="Lists">
      {LISTS.map((list) => {
        const [name, tone] = LOOKS[list];
        const count = counts?.[list];
        const to = { list, reason: "", pattern: "", cursor: "" };
        return (
          <ViewLink key={list} to={to} aria-current={list === view.list ? "page" : undefined}>
            {name}
            {count !== undefined && (
              <span class={`count ${count === 0 ? "" : tone}`}>{formatCount(count)}</span>
            )}
          </ViewLink>
        );
      })}
    </nav>
  );
}

function Filters() {
  const { view: { consumer, type, about }, navigate } = usePage();
  const apply = (event: Event) =>
    navigate({ ...submitted(event, "consumer", "type", "about"), cursor: "" }, "replace");
  return (
    <form class="filters" role="search" aria-label="Messages" onInput={apply} onSubmit={apply}>
      <Choice name="consumer" value={consumer} />
      <Choice name="type" value={type} />
      <Field label="Id" name="about" placeholder="order, event…" value={about} />
      <ViewLink class="button" to={{ panel: "replay" }}>
        <Icon name="retry" />Send events again…
      </ViewLink>
    </form>
  );
}

const NONE = "No message is here that matches.";

const COLUMNS: readonly Column<MessageJson>[] = [
  ["Message", (message) => <MessageLink {...message} />],
  ["State", (message) => <MessageState message={message} />],
  ["Order", ({ orderId }) => orderId ? <OrderLink id={orderId} /> : <span class="muted">unknown</span>],
  ["Since", ({ sinceAt }) => <When at={sinceAt} />],
];

function MessageState({ message: { state, detail, dueAt } }: { readonly message: MessageJson }) {
  const { now } = usePage();
  const [name, tone, icon] = LOOKS[state];
  const due = dueAt && duration(Date.parse(dueAt) - now);
  return (
    <>
      <Badge tone={tone} icon={icon}>{due ? `${name}, again in ${due}` : name}</Badge>
      {detail !== null && <small class="muted detail" title={detail}>{detail}</small>}
    </>
  );
}

/** Dead letters, of which some can be chosen; without any chosen, all that match. */
function Letters({ messages }: Pick<Listing, "messages">) {
  const { api, view } = usePage();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const shown = messages.flatMap(({ deadLetterId }) => deadLetterId ?? []);
  const ids = shown.filter((id) => chosen.has(id));
  const choose = (letters: readonly string[], isChosen: boolean) => {
    const others = [...chosen].filter((id) => !letters.includes(id));
    setChosen(new Set(isChosen ? [...others, ...letters] : others));
  };
  const choice = (letters: readonly string[], label: string) => (
    <input
      type="checkbox"
      aria-label={label}
      checked={letters.every((id) => chosen.has(id))}
      onChange={({ currentTarget }) => choose(letters, currentTarget.checked)}
    />
  );
  const chosenOne: Column<MessageJson> = ["Message", (message) => {
    const { deadLetterId, type, orderId } = message;
    const label = `Choose ${type ?? "unreadable"} of order ${orderId ?? "unknown"}`;
    return (
      <>
        {deadLetterId && choice([deadLetterId], label)} <MessageLink {...message} />
      </>
    );
  }];
  return (
    <>
      <div class="card-foot actions">
        <label class="actions">{choice(shown, "Choose all that are shown")} all shown</label>
        <PrepareButton of={() => api.prepareLetters(ids.length > 0 ? { ids } : lettersOf(view))}>
          Send again or discard{ids.length > 0 ? `: ${counted(ids.length, "letter")}…` : " all that match…"}
        </PrepareButton>
      </div>
      <Table caption="Dead" columns={[chosenOne, ...COLUMNS.slice(1)]} rows={messages} />
    </>
  );
}

/** Letters that failed alike, newest first. */
function Groups({ groups }: Pick<Listing, "groups">) {
  const { api } = usePage();
  return (
    <ul class="groups" aria-label="Groups of dead letters">
      {groups.map(({ consumer, reason, pattern, count, failedAgain, firstFailedAt, lastFailedAt }) => (
        <li key={`${consumer} ${reason} ${pattern}`}>
          <span class="count bad">{formatCount(count)}</span>
          <div>
            <ViewLink to={{ consumer, reason, pattern, cursor: "" }}>{reason}</ViewLink> at {consumer}
            <p class="muted detail" title={pattern}>{pattern}</p>
            <p class="muted">
              first <When at={firstFailedAt} />, last <When at={lastFailedAt} />{" "}
              {failedAgain > 0 && (
                <Badge tone="bad" icon="retry">{formatCount(failedAgain)} failed again after a redrive</Badge>
              )}
            </p>
          </div>
          <PrepareButton
            of={() =>
              api.prepareLetters({ consumer, reason, pattern })}
          >
            Send again or discard…
          </PrepareButton>
        </li>
      ))}
    </ul>
  );
}
