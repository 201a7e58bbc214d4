/**
 * Where everything stands in the diagram of the machine. Pure geometry in the units of the drawing's view box.
 *
 * @module
 */
import { QUEUE_KEYS, type QueueKey } from "../shared/topology.ts";

/** The id of a node: one of the single ones, or that of a queue or its consumer. */
export type NodeId =
  | "api"
  | "outbox"
  | "relay"
  | "exchange"
  | "tables"
  | `queue:${QueueKey}`
  | `consumer:${QueueKey}`;

/** The id of an edge; messages move along edges. */
export type EdgeId =
  | "api-outbox"
  | "outbox-relay"
  | "relay-exchange"
  | "tables-outbox"
  | `exchange-queue:${QueueKey}`
  | `queue-consumer:${QueueKey}`
  | `consumer-tables:${QueueKey}`;

/** A node's box. */
export interface NodeBox {
  /** Which node. */
  readonly id: NodeId;
  /** Its left edge. */
  readonly x: number;
  /** Its upper edge. */
  readonly y: number;
  /** Its width. */
  readonly width: number;
  /** Its height. */
  readonly height: number;
}

/** A way from one node to another. */
export interface EdgePath {
  /** Which edge. */
  readonly id: EdgeId;
  /** The `d` of an SVG path, in the direction in which messages go. */
  readonly path: string;
  /** How many edges lie before it on a message's way, so that movement seems to pass through. */
  readonly step: number;
}

/** The whole drawing. */
export interface MachineLayout {
  /** The width of its view box. */
  readonly width: number;
  /** The height of its view box. */
  readonly height: number;
  /** Every node. */
  readonly nodes: readonly NodeBox[];
  /** Every edge. */
  readonly edges: readonly EdgePath[];
}

const MARGIN = 6;
const ROW = 78;
const ROW_NODE = 66;
const TRUNK_NODE = 114;
/** Room below the rows for the way back from the tables to the outbox. */
const RETURN_ROOM = 46;

/** The columns from left to right: where each begins, and how wide it is. */
const COLUMNS = {
  in: { x: MARGIN, width: 132 },
  out: { x: 170, width: 140 },
  queue: { x: 364, width: 218 },
  consumer: { x: 610, width: 236 },
  tables: { x: 874, width: 96 },
} as const;

/**
 * Lays the machine out: a row for each queue and its consumer; before them, down and up again, the way of every event
 * to the queues.
 */
export function layoutMachine(): MachineLayout {
  const rowsHeight = QUEUE_KEYS.length * ROW - (ROW - ROW_NODE);
  const trunk = (id: NodeId, column: keyof typeof COLUMNS, part: number): NodeBox => {
    const y = MARGIN + rowsHeight * part - TRUNK_NODE / 2;
    return { id, ...COLUMNS[column], y, height: TRUNK_NODE };
  };
  const [api, outbox] = [trunk("api", "in", 0.24), trunk("outbox", "in", 0.76)];
  const [relay, exchange] = [trunk("relay", "out", 0.76), trunk("exchange", "out", 0.24)];
  const tables: NodeBox = { id: "tables", ...COLUMNS.tables, y: MARGIN, height: rowsHeight };
  const rows = QUEUE_KEYS.map((key, row) => {
    const place = { y: MARGIN + row * ROW, height: ROW_NODE };
    const queue: NodeBox = { id: `queue:${key}`, ...COLUMNS.queue, ...place };
    const consumer: NodeBox = { id: `consumer:${key}`, ...COLUMNS.consumer, ...place };
    return { key, queue, consumer };
  });
  return {
    width: tables.x + tables.width + MARGIN,
    height: MARGIN + rowsHeight + RETURN_ROOM,
    nodes: [
      api,
      outbox,
      relay,
      exchange,
      ...rows.flatMap(({ queue, consumer }) => [queue, consumer]),
      tables,
    ],
    edges: [
      { id: "api-outbox", path: upright(api, outbox), step: 0 },
      { id: "outbox-relay", path: curve(outbox, relay), step: 1 },
      { id: "relay-exchange", path: upright(relay, exchange), step: 2 },
      ...rows.flatMap(({ key, queue, consumer }): EdgePath[] => [
        { id: `exchange-queue:${key}`, path: curve(exchange, queue), step: 3 },
        { id: `queue-consumer:${key}`, path: curve(queue, consumer), step: 4 },
        { id: `consumer-tables:${key}`, path: straight(consumer, tables), step: 5 },
      ]),
      { id: "tables-outbox", path: wayBack(tables, outbox, MARGIN + rowsHeight + RETURN_ROOM - 16), step: 6 },
    ],
  };
}

/** Straight up or down between two boxes of one column. */
function upright(from: NodeBox, to: NodeBox): string {
  const isDown = from.y < to.y;
  return `M${from.x + from.width / 2} ${isDown ? from.y + from.height : from.y}V${
    isDown ? to.y : to.y + to.height
  }`;
}

/** From the right side of one box to the left side of another, level at both ends. */
function curve(from: NodeBox, to: NodeBox): string {
  const [x1, y1] = [from.x + from.width, from.y + from.height / 2];
  const [x2, y2] = [to.x, to.y + to.height / 2];
  const bend = (x2 - x1) * 0.55;
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

/** Straight on at the height of `from`, into a box that is taller. */
function straight(from: NodeBox, to: NodeBox): string {
  const y = from.y + from.height / 2;
  return `M${from.x + from.width} ${y}H${to.x}`;
}

/** Down, back along `bottom`, and up into the box from below, with rounded corners. */
function wayBack(from: NodeBox, to: NodeBox, bottom: number): string {
  const [x1, y1] = [from.x + from.width / 2, from.y + from.height];
  const [x2, y2] = [to.x + to.width / 2, to.y + to.height];
  const r = 12;
  return `M${x1} ${y1}V${bottom - r}Q${x1} ${bottom} ${x1 - r} ${bottom}H${x2 + r}Q${x2} ${bottom} ${x2} ${
    bottom - r
  }V${y2}`;
}
