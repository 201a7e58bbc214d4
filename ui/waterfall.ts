/**
 * The waterfall of one order as figures: rows, bars, marks and guides on one time axis. Draws nothing.
 *
 * @module
 */
import type { OrderStatus } from "../shared/order_status.ts";
import type { OrderStoryJson } from "../shared/ops/answers.ts";
import { formatDuration } from "./format.ts";
import { readStoryEvents, type StoryConsumer, type StoryEvent } from "./story_events.ts";
import { LABEL, placeOf, type ScaleLabel, scaleLabels, type ScalePiece, scalePieces } from "./time_scale.ts";
import { marksOf, type WaterfallMark } from "./waterfall_marks.ts";

/** A stretch of time in which an event waited. Places run from 0 to 1 over the axis. */
export interface WaterfallBar {
  /** Where it waited. */
  readonly kind: "outbox" | "broker";
  /** Where it begins. */
  readonly x0: number;
  /** Where it ends. */
  readonly x1: number;
  /** Whether it goes on: the right end is only now. */
  readonly isOpen: boolean;
  /** How long, in words that stand beside it. */
  readonly text: string;
  /** Where the text has room: beside the bar, or on it. */
  readonly textSide: "right" | "left" | "inside";
  /** Where the text begins on the right side, ends on the left one, or has its middle. */
  readonly textX: number;
  /** A sentence that says all of it. */
  readonly title: string;
}

/** One line of the waterfall: an event, or one of its consumers below it. */
export interface WaterfallRow {
  /** A key of its own among the rows. */
  readonly key: string;
  /** The event's id; null where the message did not say. */
  readonly eventId: string | null;
  /** The event's type, or the consumer's name. */
  readonly name: string;
  /** Whether it is a consumer's. */
  readonly isConsumer: boolean;
  /** Whether it belongs to the way back, and whether that begins here. */
  readonly compensation: "none" | "turn" | "on";
  /** Where it waited. */
  readonly bars: readonly WaterfallBar[];
  /** What happened to it. */
  readonly marks: readonly WaterfallMark[];
}

/** A change of the order's status. */
export interface WaterfallGuide {
  /** Its place on the axis. */
  readonly x: number;
  /** The status from here on. */
  readonly status: OrderStatus;
  /** How long after the order's creation. */
  readonly after: string;
  /** Which of its ends the label has at `x`. */
  readonly anchor: "start" | "end";
  /** The line that the label stands on, from 0: labels of one line do not overlap. */
  readonly lane: number;
}

/** A waterfall, ready to be drawn. */
export interface WaterfallLayout {
  /** The stretches of the axis; those that are breaks are to be seen as such. */
  readonly pieces: readonly ScalePiece[];
  /** The texts at the axis. */
  readonly labels: readonly ScaleLabel[];
  /** The rows, from the top. */
  readonly rows: readonly WaterfallRow[];
  /** The changes of status, in their order. */
  readonly guides: readonly WaterfallGuide[];
  /** From the first thing that happened to the last, in words. */
  readonly total: string;
}

/** Lays out a story as it stood at `now`, in epoch milliseconds. What still waits, waits until then. */
export function layoutWaterfall(story: OrderStoryJson, now: number): WaterfallLayout {
  const events = readStoryEvents(story);
  const times = story.timeline.map(({ at }) => Date.parse(at));
  const end = Math.max(now, ...times);
  if (events.some(isOpen)) times.push(end);
  const pieces = scalePieces(times);
  const axis: Axis = { place: (time) => placeOf(pieces, time), end };
  const turn = events.findIndex(({ isCompensation }) => isCompensation);
  return {
    pieces,
    labels: scaleLabels(pieces),
    rows: events.flatMap((event, index) => rowsOf(event, index === turn, axis)),
    guides: guidesOf(story, axis),
    total: formatDuration(Math.max(...times, 0) - Math.min(...times, Infinity)),
  };
}

interface Axis {
  readonly place: (time: number) => number;
  /** Until when what still waits has waited. */
  readonly end: number;
}

function isOpen({ emittedAt, sentAt, consumers }: StoryEvent): boolean {
  return emittedAt !== null && (sentAt === null || consumers.some(isWaiting));
}

function isWaiting({ processedAt, deadLetter }: StoryConsumer): boolean {
  return processedAt === null && deadLetter === null;
}

function rowsOf(event: StoryEvent, isTurn: boolean, axis: Axis): WaterfallRow[] {
  const { key, id: eventId, emittedAt, sentAt, isCompensation } = event;
  const type = event.type ?? "unreadable message";
  const outbox = emittedAt === null ? [] : [barOf(
    { kind: "outbox", from: emittedAt, to: sentAt, marks: [] },
    axis,
    (span) =>
      sentAt === null
        ? `${type} has waited ${span} in the outbox so far`
        : `${type} waited ${span} in the outbox`,
  )];
  const met = event.consumers.filter((consumer) => sentAt !== null || !isWaiting(consumer));
  const compensation = isTurn ? "turn" : isCompensation ? "on" : "none";
  return [
    { key, eventId, name: type, isConsumer: false, compensation, bars: outbox, marks: [] },
    ...met.map((consumer): WaterfallRow => {
      const marks = marksOf(type, consumer, axis.place);
      return {
        key: `${key} ${consumer.name}`,
        eventId,
        name: consumer.name,
        isConsumer: true,
        compensation: isCompensation ? "on" : "none",
        bars: sentAt === null ? [] : [brokerBar(type, consumer, sentAt, marks, axis)],
        marks,
      };
    }),
  ];
}

function brokerBar(
  type: string,
  { name, processedAt, deadLetter }: StoryConsumer,
  sentAt: number,
  marks: readonly WaterfallMark[],
  axis: Axis,
): WaterfallBar {
  const to = processedAt ?? deadLetter?.at ?? null;
  return barOf(
    { kind: "broker", from: sentAt, to, marks },
    axis,
    (span) =>
      processedAt !== null
        ? `${name} had processed ${type} ${span} after it left the outbox`
        : deadLetter
        ? `${name} gave up on ${type} ${span} after it left the outbox`
        : `${name} has not processed ${type} yet, ${span} after it left the outbox`,
  );
}

interface Span {
  readonly kind: WaterfallBar["kind"];
  readonly from: number;
  /** Null while it goes on. */
  readonly to: number | null;
  /** What the text must not cover. */
  readonly marks: readonly WaterfallMark[];
}

function barOf(
  { kind, from, to, marks }: Span,
  { place, end }: Axis,
  title: (span: string) => string,
): WaterfallBar {
  const [x0, x1] = [place(from), place(Math.max(from, to ?? end))];
  const text = formatDuration((to ?? end) - from);
  const width = text.length * LABEL.char + 2 * LABEL.space;
  const isFree = (left: number, right: number) => !marks.some(({ x }) => x > left && x < right);
  const textSide = x1 + width <= 1 && isFree(x1, x1 + width)
    ? "right"
    : x0 - width >= 0 && isFree(x0 - width, x0)
    ? "left"
    : "inside";
  const middles = [0.5, 0.25, 0.75].map((part) => x0 + part * (x1 - x0));
  const onBar = middles.find((x) => isFree(x - width / 2, x + width / 2)) ?? (x0 + x1) / 2;
  const textX = { right: x1, left: x0, inside: onBar }[textSide];
  return { kind, x0, x1, isOpen: to === null, text, textSide, textX, title: title(text) };
}

function guidesOf({ timeline }: OrderStoryJson, { place }: Axis): WaterfallGuide[] {
  const changes = timeline.filter((entry) => entry.kind === "status");
  const start = Date.parse(changes[0]?.at ?? "");
  const reached: number[] = [];
  return changes.map(({ at, to }) => {
    const x = place(Date.parse(at));
    const width = (to.length + 3) * LABEL.char;
    const anchor = x + width <= 1 ? "start" : "end";
    const [from, until] = anchor === "start" ? [x, x + width] : [x - width, x];
    const free = reached.findIndex((taken) => taken + LABEL.space <= from);
    const lane = free >= 0 ? free : reached.length;
    reached[lane] = until;
    return { x, status: to, after: formatDuration(Date.parse(at) - start), anchor, lane };
  });
}
