/**
 * The state machine, drawn, with an order's path lit up.
 *
 * @module
 */
import { ORDER_TRANSITIONS } from "../shared/order_status.ts";
import type { OrderStoryJson } from "../shared/ops/answers.ts";
import type { Rendered } from "./rendered.ts";
import { type Direction, layoutStateMachine, pathOf } from "./state_machine.ts";
import { STATUS_LOOKS } from "./status_badge.tsx";

/** Draws the machine twice, across and down: the style sheet shows the one that there is room for. */
export function StateMachineChart({ story }: { readonly story: OrderStoryJson | null }): Rendered {
  return (
    <section class="card state-machine" aria-labelledby="state-machine-title">
      <div class="card-head">
        <h3 id="state-machine-title">State machine</h3>
        <span class="muted">{story ? pathInWords(story) : "the paths that an order can take"}</span>
      </div>
      <div class="card-body state-machine-body">
        <Drawing direction="across" story={story} />
        <Drawing direction="down" story={story} />
      </div>
    </section>
  );
}

function Drawing(
  { direction, story }: { readonly direction: Direction; readonly story: OrderStoryJson | null },
): Rendered {
  const { width, height, box, states, arrows } = layoutStateMachine(direction);
  const path = story ? pathOf(story) : null;
  const current = story?.order.status;
  return (
    <svg
      class={`machine-${direction}${story ? " has-path" : ""}`}
      viewBox={`0 0 ${width} ${height}`}
      role="img"
      aria-label={tableInWords() + (story ? ` This order: ${pathInWords(story)}.` : "")}
    >
      {arrows.map(({ transition: { from, on, to, emits }, line, head, label }) => (
        <g key={`${from}>${to}`} class={path?.has(`${from}>${to}`) ? "transition is-lit" : "transition"}>
          <path class="line" d={line} />
          <path class="head" d={head} />
          <text x={label.x} y={label.y} text-anchor={label.anchor}>{on}</text>
          {emits && (
            <text
              class="emits"
              x={label.x}
              y={label.y + (direction === "across" ? 20 : 13)}
              text-anchor={label.anchor}
            >
              emits {emits}
            </text>
          )}
        </g>
      ))}
      {states.map(({ status, x, y }) => (
        <g
          key={status}
          class={[
            "state",
            STATUS_LOOKS[status].tone,
            path?.has(status) ? "is-lit" : "",
            status === current ? "is-current" : "",
          ].filter(Boolean).join(" ")}
        >
          <rect x={x} y={y} width={box.width} height={box.height} rx="7" />
          <text x={x + box.width / 2} y={y + box.height / 2 + 4} text-anchor="middle">{status}</text>
        </g>
      ))}
    </svg>
  );
}

function pathInWords({ timeline }: OrderStoryJson): string {
  return timeline.flatMap((entry) => entry.kind === "status" ? [entry.to] : []).join(" → ");
}

function tableInWords(): string {
  return ORDER_TRANSITIONS.map(({ from, on, to }) => `${from} becomes ${to} by ${on}.`).join(" ");
}
