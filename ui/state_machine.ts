/**
 * The state machine as figures, laid out from the table of transitions. Draws nothing.
 *
 * @module
 */
import { ORDER_TRANSITIONS, type OrderStatus, type OrderTransition } from "../shared/order_status.ts";
import type { OrderStoryJson } from "../shared/ops/answers.ts";

/** Which way the machine runs. */
export type Direction = "across" | "down";

/** A state's box. */
export interface MachineState {
  /** The state. */
  readonly status: OrderStatus;
  /** The left edge of its box. */
  readonly x: number;
  /** The upper edge of its box. */
  readonly y: number;
}

/** An arrow between two boxes. */
export interface MachineArrow {
  /** The transition that it stands for. */
  readonly transition: OrderTransition;
  /** Its line, as an SVG path, from one box to the edge of the other. */
  readonly line: string;
  /** Its head, as an SVG path. */
  readonly head: string;
  /** Where its label begins or has its middle. */
  readonly label: { readonly x: number; readonly y: number; readonly anchor: "start" | "middle" };
}

/** The whole drawing. */
export interface MachineLayout {
  /** Its width, in the units of all places. */
  readonly width: number;
  /** Its height. */
  readonly height: number;
  /** The width and height of each box. */
  readonly box: { readonly width: number; readonly height: number };
  /** The boxes. */
  readonly states: readonly MachineState[];
  /** The arrows. */
  readonly arrows: readonly MachineArrow[];
}

const SIZES = {
  across: { width: 168, height: 34, layerGap: 152, laneGap: 46, margin: 4, labelRoom: 0 },
  down: { width: 160, height: 34, layerGap: 60, laneGap: 24, margin: 4, labelRoom: 62 },
} as const;

/**
 * Lays out a state machine: a layer for each step from the start, and in a layer a lane for each state, the first free
 * one from its predecessor's on.
 */
export function layoutStateMachine(
  direction: Direction,
  transitions: readonly OrderTransition[] = ORDER_TRANSITIONS,
): MachineLayout {
  const { width, height, layerGap, laneGap, margin, labelRoom } = SIZES[direction];
  const places = placeStates(transitions);
  const isAcross = direction === "across";
  const corner = ({ layer, lane }: StatePlace) => {
    const [along, beside] = isAcross ? [layer, lane] : [lane, layer];
    const [gapX, gapY] = isAcross ? [layerGap, laneGap] : [laneGap, layerGap];
    return { x: margin + along * (width + gapX), y: margin + beside * (height + gapY) };
  };
  const states = [...places].map(([status, place]) => ({ status, ...corner(place) }));
  const arrows = transitions.flatMap((transition) => {
    const [from, to] = [places.get(transition.from), places.get(transition.to)];
    if (!from || !to) return [];
    const [start, end] = [corner(from), corner(to)];
    return [isAcross ? arrowAcross(transition, start, end) : arrowDown(transition, start, end)];
  });
  return {
    width: Math.max(...states.map(({ x }) => x), 0) + width + margin + labelRoom,
    height: Math.max(...states.map(({ y }) => y), 0) + height + margin,
    box: { width, height },
    states,
    arrows,
  };
}

/** Which states and arrows a story has been through: the statuses it had, each with the event that led there. */
export function pathOf(story: OrderStoryJson): Set<string> {
  return new Set(
    story.timeline.flatMap((entry) => entry.kind === "status" ? [entry.to, `${entry.from}>${entry.to}`] : []),
  );
}

interface StatePlace {
  readonly layer: number;
  readonly lane: number;
}

interface Point {
  readonly x: number;
  readonly y: number;
}

function placeStates(transitions: readonly OrderTransition[]): Map<OrderStatus, StatePlace> {
  const layerOf = (status: OrderStatus): number =>
    Math.max(...transitions.filter(({ to }) => to === status).map(({ from }) => layerOf(from) + 1), 0);
  const statuses = [...new Set(transitions.flatMap(({ from, to }) => [from, to]))];
  const places = new Map<OrderStatus, StatePlace>();
  for (const status of statuses.sort((a, b) => layerOf(a) - layerOf(b))) {
    const layer = layerOf(status);
    const taken = [...places.values()].filter((place) => place.layer === layer).map(({ lane }) => lane);
    const before = transitions.find(({ to }) => to === status)?.from;
    let lane = (before && places.get(before)?.lane) ?? 0;
    while (taken.includes(lane)) lane++;
    places.set(status, { layer, lane });
  }
  return places;
}

function arrowAcross(transition: OrderTransition, from: Point, to: Point): MachineArrow {
  const { width, height } = SIZES.across;
  const [x0, y0] = [from.x + width, from.y + height / 2];
  const [x1, y1] = [to.x, to.y + height / 2];
  const bend = y0 === y1 ? "" : `C${x0 + 18} ${y0} ${x0 + 2} ${y1} ${x0 + 26} ${y1}`;
  return {
    transition,
    line: `M${x0} ${y0}${bend}L${x1 - 6} ${y1}`,
    head: `M${x1 - 8} ${y1 - 4}L${x1 - 1} ${y1}L${x1 - 8} ${y1 + 4}z`,
    label: { x: (x0 + (bend ? 20 : 0) + x1 - 6) / 2, y: y1 - 7, anchor: "middle" },
  };
}

function arrowDown(transition: OrderTransition, from: Point, to: Point): MachineArrow {
  const { width, height } = SIZES.down;
  const [x0, y0] = [from.x + width / 2, from.y + height];
  const [x1, y1] = [to.x + width / 2, to.y];
  const bend = x0 === x1 ? "" : `C${x0} ${y0 + 22} ${x1} ${y0 + 2} ${x1} ${y0 + 26}`;
  return {
    transition,
    line: `M${x0} ${y0}${bend}L${x1} ${y1 - 6}`,
    head: `M${x1 - 4} ${y1 - 8}L${x1} ${y1 - 1}L${x1 + 4} ${y1 - 8}z`,
    label: { x: x1 + 9, y: y1 - 18, anchor: "start" },
  };
}
