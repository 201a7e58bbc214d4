/**
 * One order's story: its facts, the waterfall, the event in front, and its way through the state machine.
 *
 * @module
 */
import { isFinal } from "../shared/order_status.ts";
import type { ApiClient } from "./api_client.ts";
import type { OrderStoryJson } from "../shared/ops/answers.ts";
import { CopyButton } from "./copy_button.tsx";
import { EventDetail } from "./event_detail.tsx";
import { courseName, formatAge, formatDuration, formatMoney, shortId } from "./format.ts";
import { Icon } from "./icon.tsx";
import type { Children, Rendered } from "./rendered.ts";
import { StateMachineChart } from "./state_machine_chart.tsx";
import { StatusBadge } from "./status_badge.tsx";
import { isHeldUp } from "./story_events.ts";
import { formatView, START_VIEW, type ViewState } from "./url_state.ts";
import type { FollowedStory } from "./use_story.ts";
import type { Navigate } from "./use_view.ts";
import { WaterfallChart } from "./waterfall_chart.tsx";

/** What the story needs. */
export interface OrderStoryProps {
  /** The routes. */
  readonly api: ApiClient;
  /** The view, with the order and the event in front. */
  readonly view: ViewState;
  /** The story. */
  readonly followed: FollowedStory;
  /** The time at the server, in epoch milliseconds. */
  readonly now: number;
  /** Changes the view. */
  readonly navigate: Navigate;
}

/** Tells the story of the selected order. */
export function OrderStory({ api, view, followed, now, navigate }: OrderStoryProps): Rendered {
  const { story, error, watch } = followed;
  if (!view.order) return <NoOrder />;
  if (!story) return <MissingStory view={view} error={error} />;
  const { event } = view;
  const closeEvent = () => {
    navigate({ event: null });
    document.getElementById(`event-${event}`)?.focus();
  };
  const closeOnEscape = ({ key, target }: KeyboardEvent) => {
    const isInDialog = target instanceof Element && target.closest("dialog") !== null;
    if (key === "Escape" && event && !isInDialog) closeEvent();
  };
  return (
    <article class="story" aria-labelledby="story-title" onKeyDown={closeOnEscape}>
      <BackToOrders view={view} />
      <StoryHead story={story} now={now} />
      {error && <p class="notice bad" role="alert">{error}</p>}
      <WaterfallChart story={story} view={view} now={now} />
      {event && <EventDetail api={api} eventId={event} story={story} watch={watch} onClose={closeEvent} />}
      <StateMachineChart story={story} />
    </article>
  );
}

function StoryHead({ story, now }: { readonly story: OrderStoryJson; readonly now: number }): Rendered {
  const { id, userId, courseId, amount, status, correlationId, createdAt, updatedAt } = story.order;
  const traceId = story.timeline.find((entry) => entry.traceId !== null)?.traceId;
  const took = formatDuration(Date.parse(updatedAt) - Date.parse(createdAt));
  return (
    <header class="card story-head">
      <div class="story-title">
        <h2 id="story-title">
          Order <span class="mono">{shortId(id)}</span>
        </h2>
        <StatusBadge status={status} />
        <span class="visually-hidden" role="status">{`The order ${shortId(id)} is ${status}`}</span>
        {isHeldUp(story)
          ? (
            <a class="badge bad" href={formatView({ ...START_VIEW, tab: "dead-letters", order: id })}>
              <Icon name="letter" />held up by a dead letter
            </a>
          )
          : <span class="muted">{isFinal(status) ? `ended after ${took}` : "under way"}</span>}
      </div>
      <dl class="story-facts">
        <Fact name="Amount">{formatMoney(amount)}</Fact>
        <Fact name="Course">
          <span title={courseId}>{courseName(courseId)}</span>
        </Fact>
        <Fact name="Placed">
          <time dateTime={createdAt} title={createdAt}>{formatAge(createdAt, now)}</time>
        </Fact>
        <Fact name="Order id">
          <CopyButton label="order id" value={id} shown={shortId(id)} />
        </Fact>
        <Fact name="Correlation id">
          <CopyButton label="correlation id" value={correlationId} shown={shortId(correlationId)} />
        </Fact>
        {traceId && (
          <Fact name="Trace id">
            <CopyButton label="trace id" value={traceId} shown={shortId(traceId)} />
          </Fact>
        )}
        <Fact name="User">
          <CopyButton label="user id" value={userId} shown={shortId(userId)} />
        </Fact>
      </dl>
    </header>
  );
}

function Fact(
  { name, children }: { readonly name: string; readonly children: Children },
): Rendered {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function BackToOrders({ view }: { readonly view: ViewState }): Rendered {
  return (
    <a class="back-to-orders" href={formatView({ ...view, order: null, event: null })}>
      <Icon name="left" />All orders
    </a>
  );
}

function NoOrder(): Rendered {
  return (
    <div class="story">
      <section class="card empty story-empty">
        <Icon name="flow" />
        <h2>Follow one order through the machine</h2>
        <p>
          Play a scenario, or choose an order: every event is then shown from its transaction through outbox
          and broker to each consumer.
        </p>
      </section>
      <StateMachineChart story={null} />
    </div>
  );
}

function MissingStory(
  { view, error }: { readonly view: ViewState; readonly error: string | null },
): Rendered {
  return (
    <div class="story">
      <BackToOrders view={view} />
      <section class="card empty story-empty" aria-busy={!error}>
        {error
          ? (
            <>
              <h2>There is no story to tell</h2>
              <p role="alert">{error}</p>
            </>
          )
          : <p role="status">Reading the story of order {shortId(view.order ?? "")}…</p>}
      </section>
    </div>
  );
}
