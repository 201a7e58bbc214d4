/**
 * A link to an order's story.
 *
 * @module
 */
import { shortId } from "./format.ts";
import type { Rendered } from "./rendered.ts";

/** Links to an order; a plain click selects it on the page, any other one opens its address. */
export function OrderLink(
  { id, onSelect }: { readonly id: string; readonly onSelect: (orderId: string) => void },
): Rendered {
  return (
    <a
      class="mono"
      href={`/?order=${encodeURIComponent(id)}`}
      title={id}
      onClick={(event) => {
        if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        onSelect(id);
      }}
    >
      {shortId(id)}
    </a>
  );
}
