/**
 * The signs of the waterfall: each kind has a shape of its own, so that none is told by its colour alone.
 *
 * @module
 */
import type { Rendered } from "./rendered.ts";
import type { WaterfallMark } from "./waterfall_marks.ts";

/** A sign around the point 0, 0, at most seven units to each side. */
export function WaterfallGlyph({ kind }: { readonly kind: WaterfallMark["kind"] }): Rendered {
  switch (kind) {
    case "processed":
      return <circle class="glyph glyph-processed" r="4" />;
    case "retry":
      return (
        <g class="glyph glyph-retry">
          <circle r="6" />
          <path d="M2.8-1.6A3.2 3.2 0 102.9 1.3M3.2-3.6v2.2H1" />
        </g>
      );
    case "duplicate":
      return (
        <g class="glyph glyph-duplicate">
          <rect x="-5" y="-5" width="7" height="7" rx="1.5" />
          <rect x="-2" y="-2" width="7" height="7" rx="1.5" />
        </g>
      );
    case "dead-letter":
      return (
        <g class="glyph glyph-dead-letter">
          <path class="plate" d="M0-6.5L6.5 0 0 6.5-6.5 0z" />
          <path d="M-2-2l4 4M2-2l-4 4" />
        </g>
      );
  }
}
