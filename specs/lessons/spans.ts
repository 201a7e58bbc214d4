/**
 * A collector for one trace, for lesson 11: `spans.ts URL TRACE_ID` listens where the running system exports to and says
 * so, takes the spans of that trace for as long as more of them come, and prints them as a tree.
 *
 * @module
 */
import { type ExportedSpan, startOtlpCollector } from "../support/otlp_collector.ts";

/** Nothing more comes: a process exports several times in this time, in milliseconds. */
const QUIET_MS = 2000;
/** And without a span of the trace, in milliseconds. */
const PATIENCE_MS = 60_000;

/** A line for each span below `parentId`, oldest first: when it began after `origin`, how long it took, its name. */
function treeOf(spans: readonly ExportedSpan[], parentId: string, origin: number, indent = ""): string[] {
  return spans.filter((span) => span.parentId === parentId)
    .toSorted((a, b) => a.startedAt - b.startedAt)
    .flatMap(({ spanId, name, startedAt, endedAt }) => {
      const [at, took] = [startedAt - origin, endedAt - startedAt].map((ms) => ms.toFixed(1));
      const short = name.replace(/^(\w+) [^:]+:/, "$1 "); // without the exchange
      const line = `${at?.padStart(5)} + ${took?.padStart(4)} ms ${indent}${short}`;
      return [line, ...treeOf(spans, spanId, origin, ` ${indent}`)];
    });
}

if (import.meta.main) {
  const [url = "", traceId = ""] = Deno.args;
  await using collector = startOtlpCollector(Number(new URL(url).port));
  const ofTrace = () => collector.spans.filter((span) => span.traceId === traceId);
  console.log(`listening on ${collector.url}`);
  const begin = performance.now();
  for (let [count, since] = [0, begin]; count === 0 || performance.now() - since < QUIET_MS;) {
    if (ofTrace().length !== count) [count, since] = [ofTrace().length, performance.now()];
    if (performance.now() - begin > PATIENCE_MS) {
      throw new Error(`No span of ${traceId} came. Start the system as the lesson says.`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const spans = ofTrace();
  const known = new Set(spans.map(({ spanId }) => spanId));
  const root = spans.find(({ parentId }) => !known.has(parentId)); // its parent is the caller's
  console.log(treeOf(spans, root?.parentId ?? "", root?.startedAt ?? 0).join("\n"));
}
