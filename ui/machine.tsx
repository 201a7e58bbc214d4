// The machine as a drawing: where each message of an order is at a beat of its story, or, without one, how everything
// stands. Drawn for much room, for some, and turned for little; the style sheet shows the one that fits. Below it the
// breakpoints: what is held, and holding another part.

import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";
import { partName, troublesOf } from "../shared/ops/health.ts";
import { RELAY_PART } from "../shared/ops/holds.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { Beat, Place, StoryQueue } from "../shared/ops/story.ts";
import { formatCount } from "../shared/words.ts";
import { Button } from "./controls.tsx";
import { formatTime } from "./format.ts";
import { useAction, useFresh, usePage } from "./hooks.ts";
import { type Box, fit, type Layout, layoutMachine, LINE, SHAPES } from "./machine_layout.ts";
import { Badge, Notice } from "./marks.tsx";

/** One line of a box. */
interface Line {
  readonly text: string;
  readonly mark?: keyof typeof MARKS;
}

interface MachineProps {
  /** What it shows of an order; null for live figures. */
  readonly beat: Beat | null;
  /** What stands between the drawing and what is held, or can be. */
  readonly children?: ComponentChildren;
}

export function Machine({ beat, children }: MachineProps) {
  const { queues, pulse } = usePage();
  const [part, setPart] = useState<string>(RELAY_PART);
  const layouts = useMemo(() => SHAPES.map((shape) => [shape, layoutMachine(queues, shape)] as const), [
    queues,
  ]);
  const troubles = new Map(troublesOf(pulse, queues).map((trouble) => [trouble.place, trouble]));
  const linesOf = (place: Place): readonly Line[] => {
    const { words, level } = troubles.get(place) ?? {};
    const wrong = words && level ? [{ text: words, mark: level }] : [];
    const queue = queues.find(({ name }) => place.endsWith(`:${name}`));
    if (beat) return [...wrong, ...beatLines(place, queue, beat)];
    return wrong.length > 0 ? wrong : liveLines(place, queue, pulse);
  };
  return (
    <>
      <div class="machine" aria-hidden="true">
        <Arrows />
        {layouts.map(([shape, layout]) => (
          <svg key={shape} class={`machine-${shape}`} viewBox={`0 0 ${layout.width} ${layout.height}`}>
            {layout.heads.map(({ x, y, text }) => <text key={text} class="head" x={x} y={y}>{text}</text>)}
            <Edges edges={layout.edges} beat={beat} />
            {layout.boxes.map((box) => (
              <Part
                key={box.place}
                box={box}
                lines={linesOf(box.place)}
                look={`${lookOf(box.place, beat)} ${troubles.get(box.place)?.level ?? ""}`}
                onPick={setPart}
              />
            ))}
          </svg>
        ))}
      </div>
      {children}
      <Holds part={part} onPick={setPart} />
    </>
  );
}

/** The heads of the arrows: for all shapes, in a drawing that takes no room and is there in each. */
function Arrows() {
  const size = { refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse" };
  return (
    <svg class="visually-hidden">
      {["still", "active"].map((look) => (
        <marker
          key={look}
          id={`arrow-${look}`}
          class={`arrow ${look}`}
          viewBox="0 0 8 8"
          {...size}
          orient="auto"
        >
          <path d="M0 0.5L8 4L0 7.5z" />
        </marker>
      ))}
    </svg>
  );
}

/** The ways that are taken in this beat lie above the others, and a dot goes along each: by the style sheet alone. */
function Edges({ edges, beat }: Pick<Layout, "edges"> & Pick<MachineProps, "beat">) {
  /** Which step of its way an edge is; -1 where nothing goes along it. */
  const stepOf = ({ from, to }: Layout["edges"][number]) =>
    Math.max(
      ...(beat?.ways ?? []).map((way) => way.findIndex((place, i) => place === from && way[i + 1] === to)),
      -1,
    );
  return (
    <g>
      {edges.map((edge) => [edge, stepOf(edge)] as const).toSorted(([, a], [, b]) => a - b).map(
        ([edge, step]) => {
          const look = step < 0 ? "still" : "active";
          return (
            <g key={`${edge.from}>${edge.to}`}>
              <path class={`edge ${look}`} d={edge.path} marker-end={`url(#arrow-${look})`} />
              {beat && step >= 0 && (
                <path
                  key={`${beat.at} ${beat.title}`}
                  class={`dot step-${step}`}
                  d={edge.path}
                  pathLength={1}
                />
              )}
            </g>
          );
        },
      )}
    </g>
  );
}

interface PartProps {
  readonly box: Box;
  readonly lines: readonly Line[];
  readonly look: string;
  /** It is to be held, or not any more: the mouse's way to what stands below the drawing. */
  readonly onPick: (part: string) => void;
}

function Part({ box: { place, title, x, y, width, height }, lines, look, onPick }: PartProps) {
  const isQueue = place.startsWith("queue:");
  const part = place === "relay" ? RELAY_PART : /^consumer:(.*)/.exec(place)?.[1];
  return (
    <g
      class={`node ${look}${part ? " holdable" : ""}`}
      transform={`translate(${x} ${y})`}
      onClick={() => part && onPick(part)}
    >
      <rect width={width} height={height} rx="7" />
      {title.map((text, i) => (
        <text key={text} class={isQueue ? "" : "name"} x="9" y={8 + LINE * (i + 1) - 3}>
          {fit(text, width * 1.02)}
        </text>
      ))}
      {lines.map(({ text, mark }, i) => {
        const baseline = 8 + LINE * (title.length + i + 1) - 3;
        return (
          <g key={i} class={mark ? `line marked ${mark} ${MARKS[mark][0]}` : "line"}>
            {mark && <path class="mark" transform={`translate(9 ${baseline - 8.5})`} d={MARKS[mark][1]} />}
            <text x={mark ? 22 : 9} y={baseline}>{fit(text, width - (mark ? 28 : 14))}</text>
          </g>
        );
      })}
    </g>
  );
}

/** Tone and shape of each mark; drawn in ten units, the shape says the same as the colour. */
const MARKS = {
  here: ["", "M5 1.2a3.8 3.8 0 1 0 0 7.6a3.8 3.8 0 0 0 0-7.6z"],
  done: ["good", "M1.5 5.4l2.4 2.4L8.6 2.6"],
  retry: ["warn", "M8.4 4A3.6 3.6 0 1 0 8 7.2M8.6 1.4v2.8H5.8"],
  dead: ["bad", "M2 2l6 6M8 2l-6 6"],
  warn: ["warn", "M5 1.4L9 8.6H1zM5 4v2"],
  bad: ["bad", "M2 2l6 6M8 2l-6 6"],
  held: ["warn", "M3 1.5v7M7 1.5v7"],
} as const;

function beatLines(place: Place, queue: StoryQueue | undefined, { messages }: Beat): Line[] {
  const here = messages.filter((message) => message.place === place)
    .map(({ type: text, state }): Line => ({ text, mark: state === "waits" ? "here" : state }));
  if (queue && place.startsWith("queue:")) {
    return queue.bindings.map((type) => here.find(({ text }) => text === type) ?? { text: type });
  }
  if (here.length > 4) return [...here.slice(0, 3), { text: `and ${here.length - 3} more` }];
  return here.length > 0 || queue ? here : [{ text: RESTS[String(place)] ?? "" }];
}

/** What a part of the machine does, where it has nothing to show. */
const RESTS: Readonly<Record<string, string>> = {
  api: "orders",
  outbox: "nothing waits",
  relay: "sends",
  exchange: "routes",
};

function liveLines(place: Place, queue: StoryQueue | undefined, pulse: LivePulse): Line[] {
  if (queue && place.startsWith("queue:")) {
    const waiting = pulse.queues?.find((each) => each.queue === queue.name)?.messages ?? 0;
    const count = waiting > 0 ? ` · ${formatCount(waiting)}` : "";
    return queue.bindings.map((text, i) => ({ text: i === 0 ? text + count : text }));
  }
  if (queue) return consumerLines(queue, pulse);
  const { pending } = pulse.outbox;
  const waits = place === "outbox" && pending > 0 && `${formatCount(pending)} waiting`;
  return [{ text: waits || (RESTS[String(place)] ?? "") }];
}

/** What a consumer could not do, and what it has done since it was started, as far as there is room. */
function consumerLines({ name, label, bindings }: StoryQueue, pulse: LivePulse): Line[] {
  const copies = pulse.processes.filter((process) =>
    process.name === label.replaceAll(".", "-") && !process.isStale
  );
  const done = copies.reduce((sum, { counts }) => sum + (counts["processed"] ?? 0), 0);
  const [retries, letters] = [pulse.retries[name] ?? 0, pulse.deadLetters[name] ?? 0];
  const lines: Line[] = [
    ...(letters > 0 ? [{ text: `${formatCount(letters)} dead`, mark: "dead" } as const] : []),
    ...(retries > 0 ? [{ text: `${formatCount(retries)} to be retried`, mark: "retry" } as const] : []),
    { text: `${copies.length} up · ${formatCount(done)} done`, mark: "done" },
  ];
  return lines.slice(0, bindings.length); // its box is as high as that of its queue
}

/** The tone of a beat: what went wrong, or another way than usual, stands out. */
export function toneOf({ kind, cause }: Beat): string {
  if (kind === "dead") return "bad";
  if (cause || kind === "failed" || kind === "absorbed") return "warn";
  return kind === "published" ? "sent" : "";
}

/** Where a beat takes place, and where it puts something, stands out. */
function lookOf(place: Place, beat: Beat | null): string {
  if (beat?.place === place) return `active ${toneOf(beat)}`;
  return beat?.ways.some((way) => way.at(-1) === place) ? "active" : "";
}

interface HoldsProps {
  /** The part that is to be held next. */
  readonly part: string;
  readonly onPick: (part: string) => void;
}

/** Breakpoints: what is held, letting one event through, going on, and holding another part. */
function Holds({ part, onPick }: HoldsProps) {
  const { api, pulse, queues } = usePage();
  const { isBusy, problem, act } = useAction();
  const parts = useFresh(() => api.listHolds(), "parts").value?.parts ?? [RELAY_PART];
  const isHeld = pulse.holds.some((hold) => hold.part === part);
  const hold = (event: Event) => {
    event.preventDefault();
    void act(() => api.holdPart(part));
  };
  return (
    <div class="holds" role="group" aria-label="Breakpoints">
      <form class="actions" onSubmit={hold}>
        <label>
          <span class="visually-hidden">What to hold</span>
          <select class="field" value={part} onChange={(event) => onPick(event.currentTarget.value)}>
            {parts.map((each) => <option key={each} value={each}>{partName(each, queues)}</option>)}
          </select>
        </label>
        <Button type="submit" icon="pause" disabled={isHeld || isBusy}>Hold</Button>
        {pulse.holds.length === 0 && problem === null && (
          <span class="muted">stops a part, so that one event at a time can be let through</span>
        )}
      </form>
      {pulse.holds.map(({ part, until, steps, because }) => {
        const name = partName(part, queues);
        return (
          <p key={part} class="actions">
            <Badge tone="warn" icon="pause">{name}</Badge>
            <Button
              look="primary"
              icon="step"
              disabled={isBusy}
              aria-label={`Step: let one event through ${name}`}
              onClick={() => act(() => api.stepPart(part))}
            >
              Step
            </Button>
            <Button
              icon="play"
              disabled={isBusy}
              aria-label={`Resume ${name}`}
              onClick={() => act(() => api.resumePart(part))}
            >
              Resume
            </Button>
            <span class="muted">
              {steps > 0 && `${steps} to be let through · `}
              {because && `${because} · `}
              goes on by itself at {formatTime(until).slice(0, 5)} UTC
            </span>
          </p>
        );
      })}
      {problem !== null && <Notice level="bad">{problem}</Notice>}
    </div>
  );
}
