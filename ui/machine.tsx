/**
 * The machine as a drawing: where each message of an order is at a beat of its story, or, without one, how everything
 * stands. Drawn for much room, for some, and turned for little; the style sheet shows the one that fits.
 *
 * @module
 */
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { LivePulse } from "../shared/ops/live.ts";
import { type Beat, moduleOf, type Place, type StoryQueue, type Whereabouts } from "../shared/ops/story.ts";
import { formatCount, formatRate } from "./format.ts";
import { type Trouble, troublesOf } from "./health.ts";
import {
  type Box,
  fit,
  type Layout,
  layoutMachine,
  LINE,
  queueTitle,
  type Shape,
  SHAPES,
} from "./machine_layout.ts";
import { usePage } from "./page_data.ts";

/** One line of a box. */
interface Line {
  readonly text: string;
  readonly mark?: keyof typeof MARKS;
}

/** `beat` is what it shows of an order; null for live figures. */
export function Machine({ beat }: { readonly beat: Beat | null }) {
  const { queues, pulse } = usePage();
  const drawing = useRef<HTMLDivElement>(null);
  const layouts = useMemo(() => SHAPES.map((shape) => [shape, layoutMachine(queues, shape)] as const), [
    queues,
  ]);
  useMotion(drawing, layouts, beat);
  const troubles = new Map(troublesOf(pulse, queues).map((trouble) => [trouble.place, trouble]));
  return (
    <div class="machine" ref={drawing} aria-hidden="true">
      {layouts.map(([shape, layout]) => (
        <svg key={shape} class={`machine-${shape}`} viewBox={`0 0 ${layout.width} ${layout.height}`}>
          <Arrows shape={shape} />
          {layout.heads.map(({ x, y, text }) => <text key={text} class="head" x={x} y={y}>{text}</text>)}
          <Edges shape={shape} layout={layout} beat={beat} />
          {layout.boxes.map((box) => {
            const queue = queues.find(({ name }) =>
              box.place.endsWith(`:${name}`)
            );
            const lines = linesOf(box.place, queue, beat, pulse, troubles.get(box.place));
            const title = titleOf(box.place, queue, shape, queues);
            const level = troubles.get(box.place)?.level ?? "";
            return (
              <Part
                key={box.place}
                box={box}
                title={title}
                lines={lines}
                look={`${lookOf(box.place, beat)} ${level}`}
              />
            );
          })}
          <g class="motion" />
        </svg>
      ))}
    </div>
  );
}

/** The heads of the arrows. */
function Arrows({ shape }: { readonly shape: Shape }) {
  return (
    <defs>
      {["still", "active"].map((look) => (
        <marker
          key={look}
          id={`arrow-${shape}-${look}`}
          class={`arrow ${look}`}
          viewBox="0 0 8 8"
          refX="7"
          refY="4"
          markerWidth="8"
          markerHeight="8"
          markerUnits="userSpaceOnUse"
          orient="auto"
        >
          <path d="M0 0.5L8 4L0 7.5z" />
        </marker>
      ))}
    </defs>
  );
}

interface EdgesProps {
  readonly shape: Shape;
  readonly layout: Layout;
  readonly beat: Beat | null;
}

/** The ways that are taken in this beat lie above the others. */
function Edges({ shape, layout, beat }: EdgesProps) {
  const taken = new Set(beat?.ways.flatMap((way) => stepsOf(way)));
  const isTaken = ({ from, to }: Layout["edges"][number]) => taken.has(`${from}>${to}`);
  const sorted = layout.edges.toSorted((a, b) => Number(isTaken(a)) - Number(isTaken(b)));
  return (
    <g>
      {sorted.map((edge) => {
        const look = isTaken(edge) ? "active" : "still";
        return (
          <path
            key={`${edge.from}>${edge.to}`}
            class={`edge ${look}`}
            d={edge.path}
            marker-end={`url(#arrow-${shape}-${look})`}
          />
        );
      })}
    </g>
  );
}

function stepsOf(way: readonly Place[]): string[] {
  return way.slice(1).map((to, i) => `${way[i]}>${to}`);
}

interface PartProps {
  readonly box: Box;
  readonly title: readonly string[];
  readonly lines: readonly Line[];
  readonly look: string;
}

function Part({ box: { place, x, y, width, height }, title, lines, look }: PartProps) {
  const isQueue = place.startsWith("queue:");
  return (
    <g class={`node ${look}`} transform={`translate(${x} ${y})`}>
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
} as const;

function titleOf(
  place: Place,
  queue: StoryQueue | undefined,
  shape: Shape,
  queues: readonly StoryQueue[],
): readonly string[] {
  if (queue) return place.startsWith("queue:") ? queueTitle(queue, shape) : [moduleOf(queue.name, queues)];
  const name = place === "api" ? "API" : place.charAt(0).toUpperCase() + place.slice(1);
  const number = ["api", "outbox", "relay", "exchange"].indexOf(place) + 1;
  return [shape === "narrow" ? `${number} ${name}` : name];
}

function linesOf(
  place: Place,
  queue: StoryQueue | undefined,
  beat: Beat | null,
  pulse: LivePulse,
  trouble: Trouble | undefined,
): Line[] {
  const wrong = trouble ? [{ text: trouble.words, mark: trouble.level }] : [];
  const here = beat?.messages.filter((message) => message.place === place) ?? [];
  if (queue && place.startsWith("queue:")) {
    const waiting = pulse.queues?.find(({ queue: name }) => name === queue.name)?.messages ?? 0;
    const [first, ...others] = queue.bindings.map((text): Line => {
      return here.some(({ type }) => type === text) ? { text, mark: "here" } : { text };
    });
    if (!first || beat || waiting === 0) return first ? [first, ...others] : [];
    return [{ ...first, text: `${first.text} · ${formatCount(waiting)}` }, ...others];
  }
  if (queue) {
    return [...wrong, ...(beat ? here.map(lineOf) : wrong.length > 0 ? [] : consumerLines(queue, pulse))];
  }
  if (place === "outbox") {
    const waits = here.map(({ type: text }): Line => ({ text, mark: "here" }));
    const many = waits.length > 4 ? [...waits.slice(0, 3), { text: `and ${waits.length - 3} more` }] : waits;
    const live = pulse.outbox.pending > 0 ? `${formatCount(pulse.outbox.pending)} waiting` : "nothing waits";
    return [...wrong, ...(beat ? many.length > 0 ? many : [{ text: "nothing waits" }] : [{ text: live }])];
  }
  if (wrong.length > 0) return wrong;
  const rate = place === "api" ? pulse.rates.orders : pulse.rates.events;
  if (!beat && place !== "exchange") return [{ text: `${formatRate(rate)}/s` }];
  return [{ text: { api: "orders", relay: "sends", exchange: "routes" }[String(place)] ?? "" }];
}

function lineOf({ type: text, state }: Whereabouts): Line {
  return { text, mark: state === "waits" ? "here" : state };
}

/** What a consumer has done since it was started, and what it could not do. */
function consumerLines({ name, label }: StoryQueue, pulse: LivePulse): Line[] {
  const copies = pulse.processes.filter((process) =>
    process.name === label.replaceAll(".", "-") && !process.isStale
  );
  const done = copies.reduce((sum, { counts }) => sum + (counts["processed"] ?? 0), 0);
  const [retries, letters] = [pulse.retries[name] ?? 0, pulse.deadLetters[name] ?? 0];
  return [
    { text: `${copies.length} up · ${formatCount(done)} done`, mark: "done" },
    ...(letters > 0 ? [{ text: `${formatCount(letters)} dead`, mark: "dead" } as const] : []),
    ...(retries > 0 && letters === 0
      ? [{ text: `${formatCount(retries)} to be retried`, mark: "retry" } as const]
      : []),
  ];
}

/** The tone of a beat: what went wrong, or was caught, stands out. */
export function toneOf({ kind }: Beat): string {
  if (kind === "dead") return "bad";
  return kind === "failed" || kind === "absorbed" ? "warn" : kind === "published" ? "sent" : "";
}

/** Where a beat takes place, and where it puts something, stands out. */
function lookOf(place: Place, beat: Beat | null): string {
  if (beat?.place === place) return `active ${toneOf(beat)}`;
  return beat?.ways.some((way) => way.at(-1) === place) ? "active" : "";
}

const [STEP_MS, TRAVEL_MS] = [240, 420];
const SVG = "http://www.w3.org/2000/svg";

/** Sends a dot along each way of a new beat, past the virtual DOM; nothing moves for who asked for less motion. */
function useMotion(
  drawing: { readonly current: HTMLDivElement | null },
  layouts: readonly (readonly [Shape, Layout])[],
  beat: Beat | null,
): void {
  const key = beat && `${beat.at} ${beat.title}`;
  useEffect(() => {
    const shown = [...drawing.current?.querySelectorAll("svg") ?? []].findIndex((svg) => svg.clientWidth > 0);
    const layer = drawing.current?.querySelectorAll<SVGGElement>("g.motion")[shown];
    const edges = layouts[shown]?.[1].edges;
    if (!beat || !layer || !edges || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const way of beat.ways) {
      stepsOf(way).forEach((step, i) => {
        const edge = edges.find(({ from, to }) => `${from}>${to}` === step);
        if (edge) sendDot(layer, edge.path, i * STEP_MS);
      });
    }
    return () => layer.replaceChildren();
  }, [key]);
}

function sendDot(layer: SVGGElement, path: string, delay: number): void {
  const dot = document.createElementNS(SVG, "circle");
  dot.setAttribute("r", "5");
  dot.setAttribute("class", "dot");
  dot.style.offsetPath = `path("${path}")`;
  layer.append(dot);
  const travel = dot.animate(
    [{ offsetDistance: "0%", opacity: 1 }, { offsetDistance: "100%", opacity: 1 }],
    { duration: TRAVEL_MS, delay, easing: "ease-in-out", fill: "none" },
  );
  travel.onfinish = () => dot.remove();
}
