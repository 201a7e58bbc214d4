/**
 * One time axis on which milliseconds stay readable beside a wait of minutes: a gap that would take up most of it is
 * cut down to a labelled break.
 *
 * @module
 */
import { formatDuration } from "./format.ts";

/** A stretch of the axis. Times are epoch milliseconds; places run from 0, its left end, to 1. */
export interface ScalePiece {
  /** Where it begins in time. */
  readonly from: number;
  /** Where it ends in time. */
  readonly to: number;
  /** Where it begins on the axis. */
  readonly x0: number;
  /** Where it ends on the axis. */
  readonly x1: number;
  /** Whether it is a long wait, cut down. */
  readonly isBreak: boolean;
}

/** A text below the axis. */
export interface ScaleLabel {
  /** The place that it belongs to. */
  readonly x: number;
  /** The text. */
  readonly text: string;
  /** Which of its ends, or its middle, stands at `x`. */
  readonly anchor: "start" | "middle" | "end";
  /** Whether it tells how long a break is. */
  readonly isBreak: boolean;
}

/** The width of a character, and the space between two labels, as parts of the narrowest chart there is (300 px). */
export const LABEL = { char: 0.019, space: 0.015 } as const;

/** A gap is cut down where it is longer than so many times all the others together. */
const BREAK_FACTOR = 3;
const MAX_BREAKS = 3;
const MIN_BREAK_WIDTH = 0.1;

/** Lays out the axis for what happens at `times`: pieces without a gap between them, from 0 to 1. */
export function scalePieces(times: readonly number[]): ScalePiece[] {
  const sorted = [...new Set(times)].sort((a, b) => a - b);
  const gaps = sorted.slice(1).map((to, index) => ({ from: sorted[index] ?? to, to }));
  if (gaps.length === 0) return [{ from: sorted[0] ?? 0, to: sorted[0] ?? 0, x0: 0, x1: 1, isBreak: false }];
  const cut = longGaps(gaps);
  const lengthOf = ({ from, to }: { from: number; to: number }) => to - from;
  const widths = new Map(cut.map((gap) => {
    const label = formatDuration(lengthOf(gap)).length * LABEL.char + 2.2 * LABEL.space;
    return [gap, Math.max(MIN_BREAK_WIDTH, label, 0.5 / (gaps.length + 1) / cut.length)];
  }));
  const left = 1 - [...widths.values()].reduce((sum, width) => sum + width, 0);
  const span = gaps.reduce((sum, gap) => widths.has(gap) ? sum : sum + lengthOf(gap), 0);
  const pieces: ScalePiece[] = [];
  let x = 0;
  for (const [index, gap] of gaps.entries()) {
    const width = widths.get(gap) ?? left * lengthOf(gap) / span;
    const x1 = index === gaps.length - 1 ? 1 : Math.min(1, x + width);
    pieces.push({ ...gap, x0: x, x1, isBreak: widths.has(gap) });
    x = x1;
  }
  return joined(pieces);
}

/** The place of a time; beyond an end, that end. */
export function placeOf(pieces: readonly ScalePiece[], time: number): number {
  const piece = pieces.find(({ to }) => time <= to) ?? pieces.at(-1);
  if (!piece || piece.to === piece.from) return 0;
  const part = Math.min(1, Math.max(0, (time - piece.from) / (piece.to - piece.from)));
  return piece.x0 + part * (piece.x1 - piece.x0);
}

/** The texts below the axis, none of which overlap: the breaks, then where time goes on, then even steps. */
export function scaleLabels(pieces: readonly ScalePiece[]): ScaleLabel[] {
  const start = pieces[0]?.from ?? 0;
  const linear = pieces.filter(({ isBreak }) => !isBreak);
  const candidates = [
    ...pieces.filter(({ isBreak }) => isBreak).map(({ x0, x1, from, to }) =>
      labelAt((x0 + x1) / 2, formatDuration(to - from), true)
    ),
    ...linear.map(({ x0, from }) => startLabel(x0, from === start ? "0" : formatDuration(from - start))),
    ...linear.flatMap((piece) => stepLabels(piece, start)),
  ];
  const placed: ScaleLabel[] = [];
  for (const label of candidates) {
    const [from, to] = labelExtent(label);
    const overlaps = placed.some((other) => {
      const [otherFrom, otherTo] = labelExtent(other);
      return from < otherTo + LABEL.space && otherFrom < to + LABEL.space;
    });
    if (!overlaps) placed.push(label);
  }
  return placed.sort((a, b) => a.x - b.x);
}

/** From where to where a label reaches, at the most. */
export function labelExtent({ x, text, anchor }: Omit<ScaleLabel, "isBreak">): [from: number, to: number] {
  const width = text.length * LABEL.char;
  const from = anchor === "start" ? x : anchor === "end" ? x - width : x - width / 2;
  return [from, from + width];
}

/** Beside the break that it follows, not across its edge. */
function startLabel(x: number, text: string): ScaleLabel {
  const anchor = x + text.length * LABEL.char <= 1 ? "start" : "end";
  return { x, text, anchor, isBreak: false };
}

function labelAt(x: number, text: string, isBreak: boolean): ScaleLabel {
  const half = text.length * LABEL.char / 2;
  const anchor = x < half ? "start" : x > 1 - half ? "end" : "middle";
  return { x, text, anchor, isBreak };
}

/** The longest first, each measured against those that are left. */
function longGaps<T extends { readonly from: number; readonly to: number }>(gaps: readonly T[]): T[] {
  const byLength = [...gaps].sort((a, b) => (b.to - b.from) - (a.to - a.from));
  const cut: T[] = [];
  for (const gap of byLength.slice(0, MAX_BREAKS)) {
    const others = byLength.slice(cut.length + 1).reduce((sum, { from, to }) => sum + to - from, 0);
    if (others === 0 || gap.to - gap.from <= BREAK_FACTOR * others) break;
    cut.push(gap);
  }
  return cut;
}

/** Neighbours of one scale become one piece. */
function joined(pieces: readonly ScalePiece[]): ScalePiece[] {
  const result: ScalePiece[] = [];
  for (const piece of pieces) {
    const last = result.at(-1);
    if (last && !last.isBreak && !piece.isBreak) {
      result[result.length - 1] = { ...last, to: piece.to, x1: piece.x1 };
    } else result.push(piece);
  }
  return result;
}

/** Steps of 1, 2 or 5 times a power of ten, about four to a whole axis; after a break they count from there. */
function stepLabels({ from, to, x0, x1 }: ScalePiece, start: number): ScaleLabel[] {
  if (to === from) return [];
  const aim = (to - from) / (x1 - x0) / 4;
  const power = 10 ** Math.floor(Math.log10(aim));
  const step = Math.max(1, ([1, 2, 5, 10].find((factor) => factor * power >= aim) ?? 10) * power);
  const count = Math.floor((to - from) / step);
  return Array.from({ length: count }, (_, index) => {
    const offset = (index + 1) * step;
    const x = x0 + offset / (to - from) * (x1 - x0);
    return labelAt(x, `${from === start ? "" : "+"}${formatDuration(offset)}`, false);
  });
}
