// Where everything stands in the diagram of the machine. Pure geometry, in the units of the drawing's view box, which are
// CSS pixels at the drawing's own width.

import { moduleOf, type Place, type StoryQueue } from "../shared/ops/story.ts";

/** The machine as it is drawn where there is much room, some, or little, by the width that it takes. */
export const SHAPES = ["wide", "medium", "narrow"] as const;
type Shape = (typeof SHAPES)[number];

export interface Box {
  readonly place: Place;
  /** What it is called, in lines. */
  readonly title: readonly string[];
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

interface Edge {
  readonly from: Place;
  readonly to: Place;
  /** The `d` of an SVG path, in the direction in which messages go. */
  readonly path: string;
}

export interface Layout {
  readonly width: number;
  readonly height: number;
  readonly boxes: readonly Box[];
  readonly edges: readonly Edge[];
  /** The numbered heads of the columns; in the narrow shape the boxes have the numbers. */
  readonly heads: readonly { readonly x: number; readonly y: number; readonly text: string }[];
}

/** The height of a line of text. */
export const LINE = 14;
const [PAD, ROW_GAP, HEAD, RETURN] = [8, 8, 26, 30];

/** The columns, as their heads name them: where each begins, and how wide it is. */
const COLUMNS = {
  wide: [[1, 86], [107, 154], [281, 78], [385, 92], [531, 204], [763, 196]],
  medium: [[1, 54], [71, 134], [219, 58], [291, 82], [393, 158], [567, 136]],
} as const;
const HEADS = ["1 writes", "2 outbox", "3 relay", "4 exchange", "5 a queue each"];
const TRUNK = [["api", "API"], ["outbox", "Outbox"], ["relay", "Relay"], ["exchange", "Exchange"]] as const;
const WIDTHS = { wide: 978, medium: 718, narrow: 340 } as const;

/** The lines that a queue's name takes: broken behind its module where there is less room. */
function queueTitle({ label }: StoryQueue, shape: Shape): string[] {
  if (shape === "wide") return [label];
  const [module = "", ...rest] = label.split(".");
  return [`${module}.`, rest.join(".")];
}

/** Lays the machine out: the way of every event to the exchange, then a row for each queue and its consumer. */
export function layoutMachine(queues: readonly StoryQueue[], shape: Shape): Layout {
  return shape === "narrow" ? layoutNarrow(queues) : layoutAcross(queues, shape);
}

type Column = readonly [x: number, width: number];

/** The queues below each other from `top` on, each with its consumer beside it. */
function pairsOf(
  queues: readonly StoryQueue[],
  shape: Shape,
  top: number,
  [x, width]: Column,
  [x2, width2]: Column,
) {
  let y = top;
  return queues.map((each) => {
    const title = queueTitle(each, shape);
    const height = 2 * PAD + LINE * (title.length + each.bindings.length);
    const queue: Box = { place: `queue:${each.name}`, title, x, width, y, height };
    const name = moduleOf(each.name, queues);
    const consumer: Box = { place: `consumer:${each.name}`, title: [name], x: x2, width: width2, y, height };
    y += height + ROW_GAP;
    return { queue, consumer };
  });
}

type Pair = ReturnType<typeof pairsOf>[number];

/** All boxes and ways: `into` draws those into a queue, `back` those from a consumer to the outbox, `on` the others. */
function drawing(
  trunk: readonly [api: Box, outbox: Box, relay: Box, exchange: Box],
  pairs: readonly Pair[],
  { on, into, back }: Readonly<Record<"on" | "into" | "back", (from: Box, to: Box) => string>>,
): Pick<Layout, "boxes" | "edges"> {
  const [api, outbox, relay, exchange] = trunk;
  const edge = (from: Box, to: Box, path: string): Edge => ({ from: from.place, to: to.place, path });
  return {
    boxes: [...trunk, ...pairs.flatMap(({ queue, consumer }) => [queue, consumer])],
    edges: [
      edge(api, outbox, on(api, outbox)),
      edge(outbox, relay, on(outbox, relay)),
      edge(relay, exchange, on(relay, exchange)),
      ...pairs.flatMap(({ queue, consumer }) => [
        edge(exchange, queue, into(exchange, queue)),
        edge(queue, consumer, across(queue, consumer)),
        edge(consumer, outbox, back(consumer, outbox)),
      ]),
    ],
  };
}

function layoutAcross(queues: readonly StoryQueue[], shape: "wide" | "medium"): Layout {
  const columns = COLUMNS[shape];
  const pairs = pairsOf(queues, shape, HEAD, columns[4], columns[5]);
  const bottom = Math.max(...pairs.map(({ queue }) => queue.y + queue.height), 160);
  const middle = (HEAD + bottom) / 2;
  const part = (i: 0 | 1 | 2 | 3, height: number): Box => {
    const [[place, name], [x, width]] = [TRUNK[i], columns[i]];
    return { place, title: [name], x, width, y: middle - height / 2, height };
  };
  const last = shape === "wide" ? "6 consumer: one transaction" : "6 consumer";
  const [right, floor] = [WIDTHS[shape] - 5, bottom + RETURN - 10];
  const back = (from: Box, to: Box) =>
    `M${from.x + from.width} ${centre(from)}H${right}V${floor}H${to.x + to.width / 2}V${under(to)}`;
  const trunk = [part(0, 58), part(1, 96), part(2, 58), part(3, 58)] as const;
  return {
    width: WIDTHS[shape],
    height: bottom + RETURN,
    ...drawing(trunk, pairs, { on: across, into: curve, back }),
    heads: columns.map(([x], i) => ({ x, y: 12, text: HEADS[i] ?? last })),
  };
}

/** Turned by 90 degrees: the way to the exchange runs down, and from it along the left side to the queues. */
function layoutNarrow(queues: readonly StoryQueue[]): Layout {
  const width = WIDTHS.narrow;
  const part = (i: 0 | 1 | 2 | 3, y: number, height: number): Box => {
    const [place, name] = TRUNK[i];
    return { place, title: [`${i + 1} ${name}`], x: 1, width: width - 22, y, height };
  };
  const trunk = [part(0, 1, 40), part(1, 59, 76), part(2, 153, 40), part(3, 211, 40)] as const;
  const pairs = pairsOf(queues, "narrow", 269, [22, 138], [180, 138]);
  const into = (from: Box, to: Box) => `M9 ${from.y + from.height}V${centre(to)}H${to.x - 1}`;
  const back = (from: Box, to: Box) =>
    `M${from.x + from.width} ${centre(from)}H${width - 6}V${centre(to)}H${to.x + to.width + 1}`;
  return {
    width,
    height: Math.max(...pairs.map(({ queue }) => queue.y + queue.height), 269) + 4,
    ...drawing(trunk, pairs, { on: down, into, back }),
    heads: [],
  };
}

function under({ y, height }: Box): number {
  return y + height + 1;
}

function centre({ y, height }: Box): number {
  return y + height / 2;
}

function across(from: Box, to: Box): string {
  return `M${from.x + from.width} ${centre(from)}H${to.x - 1}`;
}

function down(from: Box, to: Box): string {
  return `M${from.x + 40} ${from.y + from.height}V${to.y - 1}`;
}

/** From the right side of one box to the left side of another, level at both ends. */
function curve(from: Box, to: Box): string {
  const [x1, y1, x2, y2] = [from.x + from.width, centre(from), to.x - 1, centre(to)];
  const bend = (x2 - x1) * 0.6;
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

/** The text, cut so that it is about no wider than `width` in small print. */
export function fit(text: string, width: number): string {
  const most = Math.max(Math.floor(width / 5.9), 4);
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}
