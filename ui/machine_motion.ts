/**
 * Messages that are seen to move: dots along the edges of the diagram. They are put into the drawing past the virtual
 * DOM, because each lives for a second and hundreds of messages may pass.
 *
 * @module
 */
import type { EdgeId, EdgePath } from "./machine_layout.ts";

/** Moves dots along the edges. */
export interface Motion {
  /** Shows how many messages have gone along each edge. */
  show(moved: ReadonlyMap<EdgeId, number>): void;
  /** Takes all dots away. */
  clear(): void;
}

/** Dots in the drawing at most; what comes beyond is not shown. */
const MAX_DOTS = 80;
/** Dots that one edge gets at a time. */
const MAX_DOTS_PER_EDGE = 4;
/** How long a dot is on its way, in milliseconds. */
const TRAVEL_MS = 800;
/** From one edge to the next one, so that a message seems to pass through the machine. */
const STEP_MS = 180;
/** Counters come every two seconds: the dots of one edge are spread over this time. */
const SPREAD_MS = 1600;
const SVG = "http://www.w3.org/2000/svg";

/** How many dots stand for `count` messages: one each while they are few, then one for each further power of two. */
export function dotsFor(count: number): number {
  if (count <= 0) return 0;
  return Math.min(MAX_DOTS_PER_EDGE, count <= 3 ? count : Math.floor(Math.log2(count)) + 2);
}

/** Draws into `layer`. Nothing moves where the reader has asked for less motion, or does not look. */
export function createMotion(layer: SVGGElement, edges: readonly EdgePath[]): Motion {
  const still = globalThis.matchMedia("(prefers-reduced-motion: reduce)");

  function send(edge: EdgePath, index: number, count: number, isLarge: boolean): void {
    if (layer.childElementCount >= MAX_DOTS) return;
    const dot = document.createElementNS(SVG, "circle");
    dot.setAttribute("r", isLarge ? "4" : "3");
    dot.setAttribute("class", "machine-dot");
    dot.style.offsetPath = `path("${edge.path}")`;
    layer.append(dot);
    const delay = edge.step * STEP_MS + (index / count) * SPREAD_MS;
    const travel = dot.animate([
      { offsetDistance: "0%", opacity: 0 },
      { opacity: 1, offset: 0.12 },
      { opacity: 1, offset: 0.88 },
      { offsetDistance: "100%", opacity: 0 },
    ], {
      duration: edge.step === 6 ? TRAVEL_MS * 2.4 : TRAVEL_MS,
      delay,
      easing: "ease-in-out",
      fill: "backwards",
    });
    travel.onfinish = () => dot.remove();
    travel.oncancel = () => dot.remove();
  }

  return {
    show(moved) {
      if (still.matches || document.hidden) return;
      // In rounds, so that where there is room for a few dots only each edge has its first one.
      for (let i = 0; i < MAX_DOTS_PER_EDGE; i++) {
        for (const edge of edges) {
          const count = moved.get(edge.id) ?? 0;
          const dots = dotsFor(count);
          if (i < dots) send(edge, i, dots, count >= 20);
        }
      }
    },
    clear: () => layer.replaceChildren(),
  };
}
