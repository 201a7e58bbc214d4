/**
 * The head of an order's page: where it stands, what was expected of it, and its ids.
 *
 * @module
 */
import { isFinal, ORDER_TRANSITIONS, type OrderStatus } from "../shared/order_status.ts";
import type { OrderStoryJson, ScenarioInfo } from "../shared/ops/answers.ts";
import type { Beat } from "../shared/ops/story.ts";
import { CopyButton } from "./controls.tsx";
import { courseName, formatAge, formatDuration, formatMoney, shortId } from "./format.ts";
import { Badge, Icon, StatusBadge } from "./marks.tsx";
import { type ToldStory, usePage } from "./page_data.ts";
import { formatView } from "./url_state.ts";
import { useRows } from "./use_rows.ts";

export interface OrderHeadProps {
  readonly story: ToldStory;
  /** The beat that is looked at: the steps up to its status are lit. */
  readonly beat: Beat | null;
}

export function OrderHead({ story, beat }: OrderHeadProps) {
  const { beats } = story;
  const { view, now, scenarios } = usePage();
  const played = scenarios.find(({ name }) => name === view.played);
  const { id, courseId, amount, status, correlationId, createdAt, updatedAt } = story.order;
  const traceId = story.timeline.find((entry) => entry.traceId !== null)?.traceId;
  const letter = heldUpBy(status, beats);
  const took = formatDuration(Date.parse(updatedAt) - Date.parse(createdAt));
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
            <a class="badge bad" href={formatView({ ...view, letter })}>
              <Icon name="letter" />held up by a dead letter
            </a>
          )
          : <span class="muted">{isFinal(status) ? `ended after ${took}` : "under way"}</span>}
        <span class="order-facts muted">
          {formatMoney(amount)} · <span title={courseId}>{courseName(courseId)}</span> ·{" "}
          <time dateTime={createdAt} title={createdAt}>{formatAge(createdAt, now)}</time>
        </span>
      </div>
      <Steps status={status} story={story} shown={statusAt(beat) ?? status} />
      {!isFinal(status) && now - Date.parse(createdAt) > WAITS_MS && <Why orderId={id} />}
      {played && <Promised played={played} status={status} beats={beats} />}
      <div class="order-ids">
        <span class="muted">order</span> <CopyButton label="order id" value={id} shown={shortId(id)} />
        <span class="muted">correlation</span>{" "}
        <CopyButton label="correlation id" value={correlationId} shown={shortId(correlationId)} />
        {traceId && (
          <>
            <span class="muted">trace</span>{" "}
            <CopyButton label="trace id" value={traceId} shown={shortId(traceId)} />
          </>
        )}
      </div>
    </header>
  );
}

/** An order that goes its way is not yet asked what it waits for, in milliseconds. */
const WAITS_MS = 2000;

/** What the order waits for, and what helps. */
function Why({ orderId }: { readonly orderId: string }) {
  const { api, pulse } = usePage();
  const read = async () => ({ rows: [await api.readWhy(orderId)], nextCursor: null });
  const [why] = useRows(read, orderId, { tick: pulse.at, isHeld: false }).rows ?? [];
  if (!why) return null;
  return (
    <p class="promise" role="status">
      <Badge tone={why.action ? "warn" : ""} icon="clock">why not yet</Badge>
      <span>
        {why.sentence} {why.action && <b>{why.action}</b>}
      </span>
    </p>
  );
}

/** The dead letter that an order waits for, by its id. */
export function heldUpBy(status: OrderStatus, beats: readonly Beat[]): string | null {
  if (isFinal(status)) return null;
  const dead = beats.findLast(({ kind }) => kind === "dead");
  const isStill = beats.at(-1)?.messages.some(({ state, id }) => state === "dead" && id === dead?.eventId);
  return isStill ? dead?.deadLetterId ?? null : null;
}

function statusAt(beat: Beat | null): string | undefined {
  return beat?.tables.find(({ table }) => table === "orders")?.holds;
}

/** The statuses that an order has had, and those that it would have next if all went well. */
export function stepsOf({ order, timeline }: OrderStoryJson): OrderStatus[] {
  const had = timeline.flatMap((entry) => entry.kind === "status" ? [entry.to] : []);
  const steps = had.length > 0 ? had : [order.status];
  for (let next; (next = ORDER_TRANSITIONS.find(({ from }) => from === steps.at(-1))?.to);) steps.push(next);
  return steps;
}

function Steps(
  { story, status, shown }: {
    readonly story: OrderStoryJson;
    readonly status: OrderStatus;
    readonly shown: string;
  },
) {
  const steps = stepsOf(story);
  const [at, reached] = [steps.findIndex((step) => step === shown), steps.indexOf(status)];
  return (
    <ol class="steps" aria-label="The order's way">
      {steps.map((step, i) => (
        <li
          key={step}
          class={i > reached ? "ahead" : i <= at ? "passed" : ""}
          aria-current={i === at ? "step" : undefined}
        >
          {step}
        </li>
      ))}
    </ol>
  );
}

function Promised(
  { played, status, beats }: {
    readonly played: ScenarioInfo;
    readonly status: OrderStatus;
    readonly beats: readonly Beat[];
  },
) {
  const isKept = isAsPromised(played, status, beats);
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

/** Whether an order has come to what its scenario's sentence begins with, a dead letter included where it tells of one. */
export function isAsPromised({ expect }: ScenarioInfo, status: OrderStatus, beats: readonly Beat[]): boolean {
  const [promised] = /^[A-Z_]+/.exec(expect) ?? [];
  const needsLetter = expect.includes("dead letter") && promised === "PENDING";
  return status === promised && (!needsLetter || beats.some(({ kind }) => kind === "dead"));
}
