/**
 * One order: its head, its film, and the story in words; without an order the machine as it stands.
 *
 * @module
 */
import { shortId } from "./format.ts";
import { Film, StoryRows } from "./film.tsx";
import { Machine } from "./machine.tsx";
import { Icon, Notice } from "./marks.tsx";
import { OrderHead } from "./order_head.tsx";
import { usePage } from "./page_data.ts";
import { Sparklines } from "./sparklines.tsx";
import { formatView } from "./url_state.ts";
import type { FollowedStory } from "./use_story.ts";

export interface OrderViewProps {
  readonly followed: FollowedStory;
  readonly isPlaying: boolean;
  readonly onPlay: (isPlaying: boolean) => void;
}

export function OrderView(
  { followed: { story, error }, isPlaying, onPlay }: OrderViewProps,
) {
  const { view } = usePage();
  if (!view.order) return <NoOrder />;
  const beats = story?.beats ?? [];
  const at = Math.min(view.beat ?? beats.length, beats.length);
  return (
    <article class="order-view" aria-label={`Order ${shortId(view.order)}`}>
      <a class="back-to-orders" href={formatView({ ...view, order: null, beat: null, played: null })}>
        <Icon name="left" />All orders
      </a>
      {story
        ? (
          <>
            {error && <Notice level="bad">{error}</Notice>}
            <OrderHead story={story} beat={beats[at - 1] ?? null} />
            <Film story={story} at={at} isPlaying={isPlaying} onPlay={onPlay} />
            <StoryRows beats={beats} at={at} />
          </>
        )
        : (
          <section class="card film" aria-busy={!error}>
            <div class="film-words" role={error ? "alert" : "status"}>
              <h2 class="film-title">
                {error ? "There is no story to tell" : `Order ${shortId(view.order)}`}
              </h2>
              <p class="muted">{error ?? "Its story is being read."}</p>
            </div>
            <Machine beat={null} />
          </section>
        )}
    </article>
  );
}

function NoOrder() {
  return (
    <div class="order-view">
      <section class="card film" aria-labelledby="machine-title">
        <div class="film-words">
          <h2 id="machine-title" class="film-title">Place an order, and watch it go through the machine</h2>
          <p class="muted">
            Each transaction and each message is shown one at a time, with a sentence that says what happened.
            Any order in the list can be gone through again.
          </p>
        </div>
        <Machine beat={null} />
      </section>
      <Sparklines />
    </div>
  );
}
