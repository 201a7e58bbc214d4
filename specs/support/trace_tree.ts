/**
 * A trace as text, for tests to compare.
 *
 * @module
 */
import type { ExportedSpan } from "./otlp_collector.ts";

/**
 * The spans below the one with the id `rootId`, a line for each that `lineOf` makes, indented by two spaces for each
 * generation; siblings stand in the order of their lines.
 */
export function traceTree(
  spans: readonly ExportedSpan[],
  rootId: string,
  lineOf: (span: ExportedSpan) => string,
): string[] {
  const children = Map.groupBy(spans, ({ parentId }) => parentId);
  const below = (id: string): string[][] =>
    (children.get(id) ?? []).map((span) => [
      lineOf(span),
      ...below(span.spanId).flat().map((line) => `  ${line}`),
    ]).toSorted(([a = ""], [b = ""]) => a < b ? -1 : a > b ? 1 : 0);
  return below(rootId).flat();
}
