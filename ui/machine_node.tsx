/**
 * One node of the diagram of the machine, drawn.
 *
 * @module
 */
import { QUEUE_KEYS } from "../shared/topology.ts";
import type { Figure, NodeFigures } from "./machine_figures.ts";
import type { NodeBox } from "./machine_layout.ts";
import { tableOf } from "./machine_parts.ts";
import type { Rendered } from "./rendered.ts";
import { StatusMark } from "./status_mark.tsx";

/** A node to be drawn. */
export interface NodeProps {
  /** Where. */
  readonly box: NodeBox;
  /** What stands at it. */
  readonly node: NodeFigures;
}

/** Draws a node in its box. Its words are also its tooltip. */
export function MachineNode({ box, node }: NodeProps): Rendered {
  const { id, level, kind, name, status, figures } = node;
  const words = figures.map(({ label, value }) => `${label}: ${value}`).join(", ");
  const Body = id === "tables"
    ? Tables
    : id.startsWith("queue:")
    ? Queue
    : id.startsWith("consumer:")
    ? Consumer
    : Trunk;
  return (
    <g class={`machine-node level-${level}`} transform={`translate(${box.x} ${box.y})`}>
      <title>{`${kind} ${name}: ${status}. ${words}`}</title>
      <rect class="machine-box" width={box.width} height={box.height} rx="8" />
      <Body box={box} node={node} />
    </g>
  );
}

function Trunk({ box, node }: NodeProps): Rendered {
  const [figure] = node.figures;
  return (
    <>
      <text class="machine-title" x="12" y="22">{node.kind}</text>
      <text class="machine-name" x="12" y="37">{node.name}</text>
      <text class="machine-big" x="12" y="68">
        {figure?.value}
        <tspan class="machine-unit" dx="5">{figure?.label}</tspan>
      </text>
      <Status node={node} x={12} y={box.height - 22} />
    </>
  );
}

function Queue({ box, node }: NodeProps): Rendered {
  const gauge = box.width - 84;
  return (
    <>
      <text class="machine-title row" x="12" y="20">{node.name.replace(/\.v\d+$/, "")}</text>
      <Status node={node} x={12} y={26} />
      <rect class="machine-gauge" x="12" y="50" width={gauge} height="5" rx="2.5" />
      <rect class="machine-fill" x="12" y="50" width={(node.fill ?? 0) * gauge} height="5" rx="2.5" />
      <text class="machine-big row" x={box.width - 12} y="58">{node.figures[0]?.value}</text>
    </>
  );
}

const SHORT: Readonly<Record<string, string>> = {
  duplicates: "dup",
  "retries waiting": "retry",
  "dead letters": "dead",
};

function Consumer({ box, node }: NodeProps): Rendered {
  const [rate, processed, ...troubles] = node.figures;
  return (
    <>
      <text class="machine-title row" x="12" y="20">{node.name}</text>
      <Status node={node} x={12} y={26} more={node.level === "good" ? ` · ${processed?.value} done` : ""} />
      <text class="machine-rate" x={box.width - 12} y="37">{rate?.value}/s</text>
      {troubles.map((figure, i) => (
        <Trouble key={figure.label} figure={figure} x={12 + i * CHIP} width={CHIP - 4} />
      ))}
    </>
  );
}

const CHIP = 72;

/** A count of what went wrong; lit only where there is any. */
function Trouble(
  { figure, x, width }: { readonly figure: Figure; readonly x: number; readonly width: number },
): Rendered {
  const isLit = figure.level !== undefined;
  return (
    <g class={isLit ? `machine-chip level-${figure.level}` : "machine-chip"}>
      {isLit && <rect x={x - 5} y="44" width={width} height="16" rx="8" />}
      <text x={x + (isLit ? 3 : 0)} y="56">{`${SHORT[figure.label] ?? figure.label} ${figure.value}`}</text>
    </g>
  );
}

function Tables({ box }: NodeProps): Rendered {
  const row = (box.height + 12) / QUEUE_KEYS.length;
  return (
    <>
      {QUEUE_KEYS.map((key, i) => (
        <g key={key}>
          {i > 0 && <path class="machine-rule" d={`M10 ${i * row - 6}H${box.width - 10}`} />}
          <text class="machine-table" x={box.width / 2} y={i * row + 30}>{tableOf(key)}</text>
          <text class="machine-unit centre" x={box.width / 2} y={i * row + 46}>+ inbox</text>
        </g>
      ))}
    </>
  );
}

interface StatusProps {
  readonly node: NodeFigures;
  readonly x: number;
  readonly y: number;
  readonly more?: string;
}

function Status({ node, x, y, more = "" }: StatusProps): Rendered {
  return (
    <g class="machine-status">
      <StatusMark level={node.level} x={x} y={y - 1} />
      <text x={x + 19} y={y + 10}>{node.status + more}</text>
    </g>
  );
}
