/**
 * Spans around a publisher: one for each message, and one for each batch.
 *
 * @module
 */
import { SpanKind } from "@opentelemetry/api";
import {
  type Attributes,
  failSpan,
  linksTo,
  type Span,
  startRootSpan,
  startSpanUnder,
  traceparentOf,
  type Tracer,
} from "../tracing.ts";
import { BATCH_COUNT, brokerAttributes, destinationOf, messageAttributes } from "./messaging_spans.ts";
import type { OutgoingMessage, Publisher, PublishOutcome, Route } from "./publish.ts";

/**
 * A publisher that makes spans; without a tracer the one it wraps. Each message has a span under its trace context, and
 * goes out with the context of that span, so that whoever receives it comes below it in the trace. AMQP knows single
 * messages alone, so those have the spans of the conventions. The batch is ours: it has a span in a trace of its own,
 * with links to the contexts that its messages came with.
 */
export function withSendSpans(publisher: Publisher, tracer: Tracer | null, brokerUrl: string): Publisher {
  if (!tracer) return publisher;
  const broker = brokerAttributes(brokerUrl);
  return {
    async publish(messages, route, timeoutMs) {
      const batch = startRootSpan(tracer, "send batch", {
        attributes: { ...broker, [BATCH_COUNT]: messages.length },
        links: linksTo(messages.map(({ traceparent }) => traceparent)),
      });
      const spans = new Map<string, Span>();
      const traced = messages.map((message) => {
        const span = startSend(tracer, message, route, broker).addLink({ context: batch.spanContext() });
        spans.set(message.id, span);
        return { ...message, traceparent: traceparentOf(span) };
      });
      const outcome = await publisher.publish(traced, route, timeoutMs);
      markFailures(spans, outcome);
      for (const span of spans.values()) span.end();
      batch.end();
      return outcome;
    },
  };
}

function startSend(tracer: Tracer, message: OutgoingMessage, route: Route, broker: Attributes): Span {
  const { id, type, correlationId, traceparent } = message;
  const facts = { id, correlationId, exchange: route.exchange, key: route.keyOf(message) };
  return startSpanUnder(tracer, traceparent, `send ${destinationOf(facts)}`, {
    kind: SpanKind.PRODUCER,
    attributes: {
      ...broker,
      ...messageAttributes("send", facts),
      ...(type === null ? {} : { "orderflow.event.type": type }),
    },
  });
}

function markFailures(spans: ReadonlyMap<string, Span>, { refused, unknown, offence }: PublishOutcome): void {
  for (const { id, error } of refused) {
    const span = spans.get(id);
    if (span) failSpan(span, "refused", error);
  }
  for (const id of unknown) {
    const span = spans.get(id);
    if (span) failSpan(span, "unanswered", offence ?? "the broker gave no answer");
  }
}
