/**
 * A collector for traces: takes what processes export over OTLP/HTTP in JSON
 * (https://opentelemetry.io/docs/specs/otlp/#otlphttp) and keeps it.
 *
 * @module
 */
import { z } from "zod";

/** A span as it was exported. */
export interface ExportedSpan {
  /** The process that made it: its `service.name`. */
  readonly service: string;
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  /** The span above it; empty for the first of a trace. */
  readonly parentId: string;
  /** Its name. */
  readonly name: string;
  /** Its kind. */
  readonly kind: "INTERNAL" | "SERVER" | "CLIENT" | "PRODUCER" | "CONSUMER";
  /** Its attributes by their names. */
  readonly attributes: Readonly<Record<string, unknown>>;
  /** The spans that it links to, by their ids. */
  readonly links: readonly string[];
  /** When it began and ended, in milliseconds since 1970. */
  readonly startedAt: number;
  readonly endedAt: number;
  /** What went wrong; null unless its status is an error. */
  readonly error: string | null;
}

/** A collector. Disposing of it closes its port. */
export interface OtlpCollector extends AsyncDisposable {
  /** Where it listens: `OTEL_EXPORTER_OTLP_ENDPOINT`. */
  readonly url: string;
  /** All spans so far, in the order of their arrival. */
  readonly spans: readonly ExportedSpan[];
}

const KINDS = ["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"] as const;
const STATUS_ERROR = 2;

const attributesSchema = z.array(z.object({ key: z.string(), value: z.record(z.string(), z.unknown()) }))
  .default([])
  .transform((list) => Object.fromEntries(list.map(({ key, value }) => [key, Object.values(value)[0]])));

const exportSchema = z.object({
  resourceSpans: z.array(z.object({
    resource: z.object({ attributes: attributesSchema }),
    scopeSpans: z.array(z.object({
      spans: z.array(z.object({
        traceId: z.string(),
        spanId: z.string(),
        parentSpanId: z.string().default(""),
        name: z.string(),
        kind: z.number(),
        startTimeUnixNano: z.coerce.number(),
        endTimeUnixNano: z.coerce.number(),
        attributes: attributesSchema,
        links: z.array(z.object({ spanId: z.string() })).default([]),
        status: z.object({ code: z.number().default(0), message: z.string().default("") }).default({
          code: 0,
          message: "",
        }),
      })),
    })),
  })),
});

const NANO = 1e6;

/** Starts a collector on 127.0.0.1: on `port`, or on a free one. */
export function startOtlpCollector(port = 0): OtlpCollector {
  const spans: ExportedSpan[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, async (request) => {
    const body: unknown = await request.json();
    if (new URL(request.url).pathname === "/v1/traces") spans.push(...readExport(body));
    return Response.json({});
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    spans,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

function readExport(body: unknown): ExportedSpan[] {
  return exportSchema.parse(body).resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) => spans).map((span) => ({
      service: String(resource.attributes["service.name"]),
      traceId: span.traceId,
      spanId: span.spanId,
      parentId: span.parentSpanId,
      name: span.name,
      kind: KINDS[span.kind - 1] ?? "INTERNAL",
      attributes: span.attributes,
      links: span.links.map(({ spanId }) => spanId),
      startedAt: span.startTimeUnixNano / NANO,
      endedAt: span.endTimeUnixNano / NANO,
      error: span.status.code === STATUS_ERROR ? span.status.message : null,
    }))
  );
}

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
