// An order's film: the beats of its story, one at a time, over the machine; and the whole story in words.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Beat } from "../shared/ops/story.ts";
import { isFinal } from "../shared/order_status.ts";
import { duration } from "../shared/words.ts";
import type { ToldStory } from "./api.ts";
import { Button, ViewLink } from "./controls.tsx";
import { usePage } from "./hooks.ts";
import { Machine, toneOf } from "./machine.tsx";
import { Badge, Icon, type IconName } from "./marks.tsx";

/** How long a beat stands while the film plays, in milliseconds: its sentence can be read. */
const BEAT_MS = 1700;

const KEYS: Readonly<Record<string, number>> = { ArrowLeft: -1, ArrowRight: 1 };

/** What each cause is called, and how it is marked: no two look alike. */
const CAUSES: Readonly<Record<NonNullable<Beat["cause"]>, readonly [icon: IconName, name: string]>> = {
  late: ["clock", "waited in the outbox"],
  again: ["play", "published again"],
  lost: ["search", "lost, and brought back"],
  delayed: ["pause", "delayed by the broker"],
  slow: ["hourglass", "a slow consumer"],
  crashed: ["bolt", "a worker crashed, and came back"],
  retried: ["retry", "after retries"],
  redriven: ["letter", "a dead letter, sent again"],
  duplicate: ["copies", "a duplicate"],
};

interface FilmProps {
  readonly story: ToldStory;
  /** The number of the beat that is shown, from 1. */
  readonly at: number;
}

/** The film of a scenario that was just played starts by itself. */
export function Film({ story, at }: FilmProps) {
  const { beats } = story;
  const { view, navigate } = usePage();
  const [isPlaying, setPlaying] = useState(view.played !== null && view.beat === 1);
  const show = (beat: number) => navigate({ beat }, "replace");
  const beat = beats[at - 1] ?? null;
  const isLast = at >= beats.length;
  const isEnd = isLast && isSettled(story);

  useEffect(() => {
    if (isPlaying && isEnd) setPlaying(false);
    if (!isPlaying || isLast) return; // what comes is played when it is there
    const timer = setTimeout(() => show(at + 1), BEAT_MS);
    return () => clearTimeout(timer);
  }, [isPlaying, at, isLast, isEnd]);

  const current = useRef(at);
  current.current = at;
  const step = (by: number) => {
    setPlaying(false);
    const next = Math.min(Math.max(current.current + by, 1), beats.length);
    if (next !== current.current) show(next);
    current.current = next; // a key may come again before the next rendering
  };
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const { key, target, altKey, ctrlKey, metaKey, shiftKey } = event;
      const by = KEYS[key] ?? 0;
      const isElsewhere = target instanceof Element && target.closest("input, select, textarea, dialog");
      if (by === 0 || isElsewhere || altKey || ctrlKey || metaKey || shiftKey) return;
      event.preventDefault();
      step(by);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });

  const play = () => {
    if (!isPlaying && isLast) show(1);
    setPlaying(!isPlaying);
  };
  return (
    <>
      <section class="card film" aria-labelledby="film-title">
        <div class="film-bar">
          <h3 id="film-title" class="visually-hidden">The order's film</h3>
          <Button icon={isPlaying ? "pause" : "play"} aria-pressed={isPlaying} onClick={play}>
            {isPlaying ? "Pause" : "Play slowly"}
          </Button>
          <Button icon="left" disabled={at <= 1} onClick={() => step(-1)}>Step back</Button>
          <Button disabled={isLast} onClick={() => step(1)}>
            Step<Icon name="chevron" />
          </Button>
          <p class="film-where muted">{whereWords(beats, at)}</p>
        </div>
        <Strip beats={beats} at={at} onStop={() => setPlaying(false)} />
        <div class="film-words" role="status">
          <p class={`film-title ${beat ? toneOf(beat) : ""}`}>
            {beat?.title} {beat && <Cause beat={beat} />}
          </p>
          <p class="muted">
            {beat?.text} {beat?.deadLetterId
              ? <ViewLink to={{ letter: beat.deadLetterId }}>Show the dead letter</ViewLink>
              : beat?.eventId && <ViewLink to={{ event: beat.eventId }}>Show the message</ViewLink>}
          </p>
        </div>
        <Machine beat={beat}>
          <dl class="tables">
            {beat?.tables.map(({ table, holds, isChanged }) => (
              <div key={table} class={isChanged ? "is-changed" : ""}>
                <dt>{table}</dt>
                <dd>{holds.replaceAll("_", "_\u200b")}</dd>
              </div>
            ))}
          </dl>
        </Machine>
      </section>
      <StoryRows beats={beats} at={at} onStop={() => setPlaying(false)} />
    </>
  );
}

/** Whether nothing more is to be expected: the order has ended, and none of its messages is on its way. */
export function isSettled({ order, beats }: ToldStory): boolean {
  const messages = beats.at(-1)?.messages ?? [];
  return isFinal(order.status) && messages.every(({ state }) => state !== "waits" && state !== "retry");
}

/** Why a beat is not like those of an order that goes its way. */
function Cause({ beat: { cause } }: { readonly beat: Beat }) {
  if (!cause) return null;
  const [icon, name] = CAUSES[cause];
  return <Badge tone="warn" icon={icon}>{name}</Badge>;
}

function whereWords(beats: readonly Beat[], at: number): string {
  const [first, beat, before] = [beats[0], beats[at - 1], beats[at - 2]];
  if (!first || !beat) return "";
  const since = before ? ` · ${duration(beat.at - before.at)} since the last beat` : "";
  return `beat ${at} of ${beats.length} · ${duration(beat.at - first.at)} after the order${since}`;
}

interface BeatsProps {
  readonly beats: readonly Beat[];
  readonly at: number;
  /** A beat was chosen. */
  readonly onStop: () => void;
}

interface TimeScale {
  /** Where each time stands, from 0 to 1. */
  readonly positions: readonly number[];
  /** The stretch in which nothing happened and which was cut short, if any: where it is, and how long it took. */
  readonly gap: { readonly from: number; readonly to: number; readonly ms: number } | null;
}

/** A stretch is cut where it is so many times as long as all the rest together. */
const CUT_FROM = 2;
/** How much of the line a stretch that was cut keeps. */
const CUT_TO = 0.08;

/** Places times, given in milliseconds in rising order; the longest stretch between two of them is cut if it is most of all. */
export function timeScale(times: readonly number[]): TimeScale {
  const [start = 0, end = 0] = [times[0], times.at(-1)];
  const gaps = times.slice(1).map((time, i) => time - (times[i] ?? time));
  const longest = Math.max(...gaps, 0);
  const rest = end - start - longest;
  const place = (ms: number, scale: number) => scale === 0 ? 0 : ms / scale;
  if (longest === 0 || longest <= CUT_FROM * rest || gaps.length < 2 || rest === 0) {
    return { positions: times.map((time) => place(time - start, end - start)), gap: null };
  }
  const before = gaps.indexOf(longest);
  const positions = times.map((time, i) =>
    i <= before
      ? place(time - start, rest) * (1 - CUT_TO)
      : place(time - start - longest, rest) * (1 - CUT_TO) + CUT_TO
  );
  return { positions, gap: { from: positions[before] ?? 0, to: positions[before + 1] ?? 1, ms: longest } };
}

/** A segment for each beat, all of one width, and below them when each was, true to time. */
function Strip({ beats, at, onStop }: BeatsProps) {
  const { positions, gap } = timeScale(beats.map((beat) => beat.at));
  const total = (beats.at(-1)?.at ?? 0) - (beats[0]?.at ?? 0);
  const x = (share = 0) => `${(share * 100).toFixed(2)}%`;
  const look = (beat: Beat, i: number) => `${toneOf(beat)}${i + 1 > at ? " ahead" : ""}`;
  return (
    <div class="strip">
      <ol class="strip-beats">
        {beats.map((beat, i) => (
          <li key={i}>
            <ViewLink
              class={look(beat, i)}
              to={{ beat: i + 1 }}
              title={beat.title}
              aria-label={`Beat ${i + 1}: ${beat.title}`}
              aria-current={i + 1 === at ? "step" : undefined}
              tabIndex={i + 1 === at ? 0 : -1}
              onClick={onStop}
            >
              {beat.cause && <Icon name={CAUSES[beat.cause][0]} />}
            </ViewLink>
          </li>
        ))}
      </ol>
      <div class="strip-time" aria-hidden="true">
        <span>0</span>
        <svg height="14">
          <line class="axis" x1="0" x2="100%" y1="7" y2="7" />
          {gap && <rect class="gap" x={x(gap.from)} width={x(gap.to - gap.from)} y="1" height="12" />}
          {beats.map((beat, i) => (
            <rect key={i} class={`tick ${look(beat, i)}`} x={x(positions[i])} y="2" height="10" />
          ))}
          {beats.length > 0 && <circle fill="currentColor" cx={x(positions[at - 1])} cy="7" r="4" />}
        </svg>
        <span>{duration(total)}{gap && ` (of it ${duration(gap.ms)} cut)`}</span>
      </div>
    </div>
  );
}

/** A row for each beat. */
function StoryRows({ beats, at, onStop }: BeatsProps) {
  const start = beats[0]?.at ?? 0;
  return (
    <details class="card story-rows" open>
      <summary>The story in words</summary>
      <ol>
        {beats.map((beat, i) => (
          <li key={i}>
            <ViewLink
              to={{ beat: i + 1 }}
              class={toneOf(beat)}
              aria-current={i + 1 === at ? "step" : undefined}
              onClick={onStop}
            >
              <span class="muted">{duration(beat.at - start)}</span>
              <span class="muted">{beat.where}</span>
              <span>
                {beat.title} <Cause beat={beat} />
              </span>
            </ViewLink>
          </li>
        ))}
      </ol>
    </details>
  );
}
