// A collector for traces: takes what processes export over OTLP/HTTP in JSON
// (https://opentelemetry.io/docs/specs/otlp/#otlphttp). As a script it collects one trace, for lesson 11:
// `spans.ts URL TRACE_ID` listens where the running system exports to and says so, takes the spans of that trace for as long
// as more of them come, and prints them as a tree.

import { z } from "zod";

const KINDS = ["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"] as const;
const STATUS_ERROR = 2;
const NANO = 1e6;

const attributesSchema = z.array(z.object({ key: z.string(), value: z.record(z.string(), z.unknown()) }))
  .default([])
  .transform((list) => Object.fromEntries(list.map(({ key, value }) => [key, Object.values(value)[0]])));

const spanSchema = z.object({
  traceId: z.string(),
  spanId: z.string(),
  parentSpanId: z.string().default(""),
  name: z.string(),
  kind: z.number(),
  startTimeUnixNano: z.coerce.number(),
  endTimeUnixNano: z.coerce.number(),
  attributes: attributesSchema,
  links: z.array(z.object({ spanId: z.string() })).default([]),
  status: z.object({ code: z.number().default(0), message: z.string().default("") }).prefault({}),
}).transform(({ traceId, spanId, name, attributes, ...span }) => ({
  ...{ traceId, spanId, name, attributes },
  /** The span above it; empty for the first of a trace. */
  parentId: span.parentSpanId,
  kind: KINDS[span.kind - 1] ?? "INTERNAL",
  /** The spans that it links to, by their ids. */
  links: span.links.map(({ spanId }) => spanId),
  /** When it began and ended, in milliseconds since 1970. */
  startedAt: span.startTimeUnixNano / NANO,
  endedAt: span.endTimeUnixNano / NANO,
  /** What went wrong; null unless its status is an error. */
  error: span.status.code === STATUS_ERROR ? span.status.message : null,
}));

const exportSchema = z.object({
  resourceSpans: z.array(z.object({
    resource: z.object({ attributes: attributesSchema }),
    scopeSpans: z.array(z.object({ spans: z.array(spanSchema) })),
  })),
}).transform(({ resourceSpans }) =>
  resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = String(resource.attributes["service.name"]);
    return scopeSpans.flatMap(({ spans }) => spans.map((span) => ({ service, ...span })));
  })
);

export type ExportedSpan = z.infer<typeof exportSchema>[number];

/** A collector with all spans so far, in the order of their arrival. Disposing of it closes its port. */
export type OtlpCollector = ReturnType<typeof startOtlpCollector>;

/** Starts a collector on 127.0.0.1: on `port`, or on a free one. */
export function startOtlpCollector(port = 0) {
  const spans: ExportedSpan[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, async (request) => {
    const body: unknown = await request.json();
    if (new URL(request.url).pathname === "/v1/traces") spans.push(...exportSchema.parse(body));
    return Response.json({});
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    spans: spans as readonly ExportedSpan[],
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

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
