/**
 * The machine as a drawing, with live figures at each node and messages that are seen to move. On a narrow screen, and
 * for screen readers, the same is a list.
 *
 * @module
 */
import { useEffect, useMemo, useRef } from "preact/hooks";
import { QUEUE_KEYS } from "../shared/topology.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import { attention, MACHINE_WINDOW_MS, machineFigures, type NodeFigures } from "./machine_figures.ts";
import { layoutMachine, type MachineLayout, type NodeId } from "./machine_layout.ts";
import { createMotion, type Motion } from "./machine_motion.ts";
import { MachineNode } from "./machine_node.tsx";
import { movements } from "./pulse_growth.ts";
import { counted } from "./number_format.ts";
import type { PanelProps } from "./panel_props.ts";
import { useRecentPulses } from "./recent_pulses.ts";
import type { Rendered } from "./rendered.ts";
import { StatusMark } from "./status_mark.tsx";

/** Draws the machine as the last pulses tell of it. */
export function MachineDiagram({ pulse, isStale }: Pick<PanelProps, "pulse" | "isStale">): Rendered {
  const layout = useMemo(layoutMachine, []);
  const recent = useRecentPulses(pulse, MACHINE_WINDOW_MS);
  const nodes = machineFigures(recent);
  return (
    <section class="card machine" aria-labelledby="machine-heading">
      <div class="card-head">
        <h2 id="machine-heading">The machine</h2>
        <Verdict nodes={nodes} pulse={pulse} isStale={isStale} />
      </div>
      {pulse === null
        ? <p class="empty">Waiting for the first figures of the processes and the broker.</p>
        : (
          <div class={isStale ? "card-body machine-body stale" : "card-body machine-body"}>
            <Drawing layout={layout} nodes={nodes} recent={recent} isStale={isStale} />
            <MachineList nodes={nodes} />
          </div>
        )}
    </section>
  );
}

function Verdict(
  { nodes, pulse, isStale }: { nodes: readonly NodeFigures[]; pulse: LivePulse | null; isStale: boolean },
): Rendered | null {
  if (!pulse) return null;
  const wrong = attention(nodes);
  if (isStale) {
    return (
      <p class="notice warn machine-verdict" role="status">
        <StatusMark level="warn" />Not live: these figures are of {pulse.at.slice(11, 19)} UTC.
      </p>
    );
  }
  const level = wrong.length === 0 ? "good" : nodes.some((node) => node.level === "bad") ? "bad" : "warn";
  return (
    <>
      <p class={`notice ${level} machine-verdict`}>
        <StatusMark level={level} />
        <span>
          {wrong.length === 0 ? "Every part runs" : wrong.slice(0, 3).join(" · ")}
          {wrong.length > 3 && ` and ${wrong.length - 3} more`}
        </span>
      </p>
      {/* The figures change all the time: only how many parts are affected is read out. */}
      <p class="visually-hidden" role="status">
        {wrong.length === 0 ? "Every part of the machine runs" : `${counted(wrong.length, "part")} not well`}
      </p>
    </>
  );
}

interface DrawingProps {
  readonly layout: MachineLayout;
  readonly nodes: readonly NodeFigures[];
  readonly recent: readonly LivePulse[];
  readonly isStale: boolean;
}

function Drawing({ layout, nodes, recent, isStale }: DrawingProps): Rendered {
  const layer = useRef<SVGGElement>(null);
  useMotion(layer, layout, recent, isStale);
  const nodeOf = new Map<NodeId, NodeFigures>(nodes.map((node) => [node.id, node]));
  const isBroken = (id: string) => {
    const target = id === "outbox-relay" || id === "relay-exchange"
      ? "relay"
      : id.replace("queue-consumer:", "consumer:");
    return nodes.some((node) => node.id === target && node.level === "bad");
  };
  return (
    <div class="machine-drawing" aria-hidden="true">
      <svg viewBox={`0 0 ${layout.width} ${layout.height}`} preserveAspectRatio="xMidYMid meet">
        <g class="machine-edges">
          {layout.edges.map(({ id, path }) => (
            <path key={id} d={path} class={isBroken(id) ? "machine-edge broken" : `machine-edge ${id}`} />
          ))}
        </g>
        <text class="machine-unit centre" x={layout.width * 0.6} y={layout.height - 24}>
          what follows is appended to the outbox in the same transaction
        </text>
        <g ref={layer} />
        {layout.nodes.map((box) => {
          const node = nodeOf.get(box.id);
          return node && <MachineNode key={box.id} box={box} node={node} />;
        })}
      </svg>
    </div>
  );
}

function useMotion(
  layer: { readonly current: SVGGElement | null },
  layout: MachineLayout,
  recent: readonly LivePulse[],
  isStale: boolean,
): void {
  const motion = useRef<Motion | null>(null);
  const [before, after] = [recent.at(-2), recent.at(-1)];
  useEffect(() => {
    if (!layer.current) return;
    const made = motion.current = createMotion(layer.current, layout.edges);
    return () => made.clear();
  }, [layout]);
  useEffect(() => {
    if (isStale) motion.current?.clear();
    else if (before && after) motion.current?.show(movements(before, after));
  }, [after?.at, isStale]);
}

function MachineList({ nodes }: { readonly nodes: readonly NodeFigures[] }): Rendered {
  const ids: NodeId[] = [
    "api",
    "outbox",
    "relay",
    "exchange",
    ...QUEUE_KEYS.flatMap((key): NodeId[] => [`queue:${key}`, `consumer:${key}`]),
    "tables",
  ];
  return (
    <ol class="machine-list" aria-label="The machine, part by part">
      {ids.flatMap((id) => nodes.filter((node) => node.id === id)).map((node) => (
        <li
          key={node.id}
          class={`machine-item level-${node.level} ${node.id.startsWith("consumer:") ? "nested" : ""}`}
        >
          <div class="machine-item-head">
            <StatusMark level={node.level} />
            <span class="machine-item-name">
              <b>{node.kind}</b> <span class="mono">{node.name}</span>
            </span>
            <span class="machine-item-status">{node.status}</span>
          </div>
          <dl class="machine-item-figures">
            {node.figures.map(({ label, value, level }) => (
              <div key={label} class={level ? `level-${level}` : ""}>
                <dt>{label}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
        </li>
      ))}
    </ol>
  );
}
