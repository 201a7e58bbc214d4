// One order: where it stands and what was expected of it, its film, and the story in words; without an order the machine as
// it stands, and the figures of the last three minutes.

import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import type { OrderStoryJson, ScenarioInfo } from "../shared/ops/answers.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { Beat } from "../shared/ops/story.ts";
import { isFinal, ORDER_TRANSITIONS, type OrderStatus } from "../shared/order_status.ts";
import { duration, formatCount } from "../shared/words.ts";
import type { ToldStory } from "./api.ts";
import { CopyButton, ViewLink } from "./controls.tsx";
import { Film, isSettled } from "./film.tsx";
import { courseName, formatAge, formatMoney, formatRate, shortId } from "./format.ts";
import { useFresh, usePage } from "./hooks.ts";
import { Machine } from "./machine.tsx";
import { Badge, Icon, Notice, StatusBadge } from "./marks.tsx";

/** `initial` is the story that the page came with. */
export function OrderView({ initial }: { readonly initial: ToldStory | null | undefined }) {
  const { view } = usePage();
  const { story, problem } = useStory(initial);
  if (!view.order) return <NoOrder />;
  const beats = story?.beats ?? [];
  const at = Math.min(view.beat ?? beats.length, beats.length);
  return (
    <article class="order-view" aria-label={`Order ${shortId(view.order)}`}>
      <ViewLink class="back-to-orders" to={{ order: null, beat: null, played: null }}>
        <Icon name="left" />All orders
      </ViewLink>
      {story
        ? (
          <>
            {problem && <Notice level="bad">{problem}</Notice>}
            <OrderHead story={story} beat={beats[at - 1] ?? null} />
            <Film key={view.order} story={story} at={at} />
          </>
        )
        : (
          <Still title={problem ? "There is no story to tell" : `Order ${shortId(view.order)}`}>
            <span role={problem ? "alert" : "status"}>{problem ?? "Its story is being read."}</span>
          </Still>
        )}
    </article>
  );
}

function NoOrder() {
  return (
    <div class="order-view">
      <Still title="Place an order, and watch it go through the machine">
        Each transaction and each message is shown one at a time, with a sentence that says what happened. Any
        order in the list can be gone through again.
      </Still>
      <Sparklines />
    </div>
  );
}

/** The machine as it stands, below a few words. */
function Still({ title, children }: { readonly title: string; readonly children: ComponentChildren }) {
  return (
    <section class="card film" aria-labelledby="machine-title">
      <div class="film-words">
        <h2 id="machine-title" class="film-title">{title}</h2>
        <p class="muted">{children}</p>
      </div>
      <Machine beat={null} />
    </section>
  );
}

/** Follows the view's order while there may be more to its story; a set that was sent again is a reason, too. */
function useStory(initial: ToldStory | null | undefined) {
  const { api, pulse, view: { order, set } } = usePage();
  const last = useRef(initial ?? null);
  const load = async () => order && await api.readStory(order);
  const { value, problem, isLoading } = useFresh(load, `${order} ${set}`, {
    tick: pulse.at,
    isHeld: order === null || last.current !== null && !needsRereading(last.current, pulse),
    initial,
  });
  const story = value && value.order.id === order ? value : null;
  last.current = story;
  const isMissing = !isLoading && !story && problem === null;
  return { story, problem: isMissing ? `There is no order ${order}.` : problem };
}

/** Whether a story has to be read again: its order has changed in the list, or something is still on its way. */
export function needsRereading(story: ToldStory, pulse: LivePulse): boolean {
  const listed = pulse.orders.find(({ id }) => id === story.order.id);
  return (listed !== undefined && listed.updatedAt !== story.order.updatedAt) || !isSettled(story);
}

function OrderHead({ story, beat }: { readonly story: ToldStory; readonly beat: Beat | null }) {
  const { view, now, scenarios } = usePage();
  const played = scenarios.find(({ name }) => name === view.played);
  const { id, courseId, amount, status, correlationId, createdAt, updatedAt } = story.order;
  const traceId = story.timeline.find((entry) => entry.traceId !== null)?.traceId;
  const letter = heldUpBy(status, story.beats);
  const took = duration(Date.parse(updatedAt) - Date.parse(createdAt));
  const ids = { order: id, correlation: correlationId, trace: traceId };
  return (
    <header class="card order-head">
      <div class="order-title">
        <h2 id="order-title">
          Order <span class="mono">{shortId(id)}</span>
        </h2>
        <StatusBadge status={status} />
        <span class="visually-hidden" role="status">{`The order ${shortId(id)} is ${status}`}</span>
        {letter
          ? (
            <ViewLink class="badge bad" to={{ letter }}>
              <Icon name="letter" />held up by a dead letter
            </ViewLink>
          )
          : <span class="muted">{isFinal(status) ? `ended after ${took}` : "under way"}</span>}
        <span class="muted">
          {formatMoney(amount)} · <span title={courseId}>{courseName(courseId)}</span> ·{" "}
          <time dateTime={createdAt} title={createdAt}>{formatAge(createdAt, now)}</time>
        </span>
      </div>
      <Steps story={story} beat={beat} />
      {!isFinal(status) && now - Date.parse(createdAt) > WAITS_MS && <Why orderId={id} />}
      {played && <Promised played={played} story={story} />}
      <div class="order-ids">
        {Object.entries(ids).map(([name, value]) => {
          return value && (
            <span key={name}>
              <span class="muted">{name}</span>{" "}
              <CopyButton label={`${name} id`} value={value} shown={shortId(value)} />
            </span>
          );
        })}
      </div>
    </header>
  );
}

/** The dead letter that an order waits for, by its id. */
export function heldUpBy(status: OrderStatus, beats: readonly Beat[]): string | null {
  if (isFinal(status)) return null;
  const dead = beats.findLast(({ kind }) => kind === "dead");
  const isStill = beats.at(-1)?.messages.some(({ state, id }) => state === "dead" && id === dead?.eventId);
  return isStill ? dead?.deadLetterId ?? null : null;
}

/** An order that goes its way is not yet asked what it waits for, in milliseconds. */
const WAITS_MS = 2000;

/** What the order waits for, and what helps. */
function Why({ orderId }: { readonly orderId: string }) {
  const { api, pulse } = usePage();
  const { value: why } = useFresh(() => api.readWhy(orderId), orderId, { tick: pulse.at });
  if (!why) return null;
  const { sentence, cause, action, deadLetterId: letter } = why;
  const helps = cause === "held" ? "Let one event through, or resume it: below the diagram." : action;
  return (
    <p class="promise" role="status">
      <Badge tone={action ? "warn" : ""} icon="clock">why not yet</Badge>
      <span>
        {sentence}{" "}
        {letter
          ? <ViewLink to={{ letter }}>Send it again, or discard it.</ViewLink>
          : helps && <b>{helps}</b>}
      </span>
    </p>
  );
}

/** The statuses that an order has had, and those that it would have next if all went well. */
export function stepsOf({ order, timeline }: OrderStoryJson): OrderStatus[] {
  const had = timeline.flatMap((entry) => entry.kind === "status" ? [entry.to] : []);
  const steps = had.length > 0 ? had : [order.status];
  for (let next; (next = ORDER_TRANSITIONS.find(({ from }) => from === steps.at(-1))?.to);) steps.push(next);
  return steps;
}

/** The order's way; lit up to where it is at the beat. */
function Steps({ story, beat }: { readonly story: OrderStoryJson; readonly beat: Beat | null }) {
  const { status } = story.order;
  const shown = beat?.tables.find(({ table }) => table === "orders")?.holds ?? status;
  const steps = stepsOf(story);
  const [at, reached] = [steps.findIndex((step) => step === shown), steps.indexOf(status)];
  return (
    <ol class="steps" aria-label="The order's way">
      {steps.map((step, i) => (
        <li
          key={step}
          class={`${i > reached ? "ahead" : ""} ${i <= at ? "passed" : ""}`}
          aria-current={i === at ? "step" : undefined}
        >
          {step}
        </li>
      ))}
    </ol>
  );
}

/** Whether an order has come to what its scenario's sentence begins with, a dead letter included where it tells of one. */
export function isAsPromised({ expect }: ScenarioInfo, status: OrderStatus, beats: readonly Beat[]): boolean {
  const [promised] = /^[A-Z_]+/.exec(expect) ?? [];
  const needsLetter = expect.includes("dead letter") && promised === "PENDING";
  return status === promised && (!needsLetter || beats.some(({ kind }) => kind === "dead"));
}

function Promised({ played, story }: { readonly played: ScenarioInfo; readonly story: ToldStory }) {
  const isKept = isAsPromised(played, story.order.status, story.beats);
  return (
    <p class="promise">
      <Badge tone={isKept ? "good" : ""} icon={isKept ? "check" : "clock"}>
        {isKept ? "as promised" : "not yet"}
      </Badge>
      <span>
        <b>{played.name.replaceAll("-", " ")}:</b> {played.expect}
      </span>
    </p>
  );
}

interface Figure {
  readonly label: string;
  readonly of: (pulse: LivePulse) => number | null;
  readonly format: (value: number) => string;
}

const FIGURES: readonly Figure[] = [
  { label: "orders per second", of: ({ rates }) => rates.orders, format: formatRate },
  { label: "events per second", of: ({ rates }) => rates.events, format: formatRate },
  { label: "waiting in the outbox", of: ({ outbox }) => outbox.pending, format: formatCount },
  { label: "order to outcome, half within", of: ({ latency }) => latency.p50, format: duration },
  { label: "order to outcome, 99 of 100", of: ({ latency }) => latency.p99, format: duration },
];

/** How far back the lines go, in milliseconds; one sample a second is as fine as a line can show. */
const [WINDOW_MS, APART_MS] = [180_000, 1000];
const [WIDTH, HEIGHT] = [120, 24];

/** Draws the figures. The lines begin when the page is opened: each pulse adds a point, and nothing is made up. */
function Sparklines() {
  const { pulse, isStale } = usePage();
  const samples = useRef<readonly LivePulse[]>([]);
  const now = Date.parse(pulse.at);
  const last = samples.current.at(-1);
  if (!isStale && (!last || now - Date.parse(last.at) >= APART_MS)) {
    samples.current = [...samples.current.filter(({ at }) => now - Date.parse(at) < WINDOW_MS), pulse];
  }
  return (
    <dl class="sparklines" aria-label="The last three minutes">
      {FIGURES.map(({ label, of, format }) => {
        const value = of(pulse);
        const most = Math.max(...samples.current.map((each) => of(each) ?? 0), 1);
        const points = samples.current.map((each) => {
          const x = WIDTH * (1 - (now - Date.parse(each.at)) / WINDOW_MS);
          const y = 1 + (HEIGHT - 2) * (1 - (of(each) ?? 0) / most);
          return `${x.toFixed(1)},${y.toFixed(1)}`;
        });
        return (
          <div key={label} class="card">
            <dt>{label}</dt>
            <dd>{isStale || value === null ? "–" : format(value)}</dd>
            <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
              <polyline points={points.join(" ")} />
            </svg>
          </div>
        );
      })}
    </dl>
  );
}
