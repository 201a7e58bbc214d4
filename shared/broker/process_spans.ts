/**
 * Spans around what a consumer does: one for each message, and one for each batch.
 *
 * @module
 */
import { SpanKind } from "@opentelemetry/api";
import {
  type Attributes,
  failSpan,
  linksTo,
  ORDER_ID,
  type Span,
  startRootSpan,
  startSpanUnder,
  traceparentOf,
  type Tracer,
} from "../tracing.ts";
import type { Delivery } from "./delivery.ts";
import { BATCH_COUNT, brokerAttributes, destinationOf, messageAttributes } from "./messaging_spans.ts";
import type { NextStep, Verdict } from "./next_step.ts";

/** Makes the spans of one consumer. */
export interface ProcessSpans {
  /**
   * Starts the span of each message that is taken up for the first time, and puts its context in the place of the
   * message's, so that it is passed on to all that the message causes. Answers with what ends the span of the batch.
   */
  takeUp(batch: readonly Delivery[]): () => void;
  /** Ends the span of a message that is settled, with what came of it. One that is kept in hand goes on. */
  settle(delivery: Delivery, verdict: Verdict, step: NextStep): void;
}

/**
 * Makes the spans of the consumer of `queue`; null without a tracer. A message's span lasts until it is settled, however
 * often it is looked at, and is a child of the context that the message came with. A message that goes back unsettled
 * leaves no span: whoever settles it does.
 */
export function createProcessSpans(
  tracer: Tracer | null,
  brokerUrl: string,
  queue: string,
): ProcessSpans | null {
  if (!tracer) return null;
  const broker = brokerAttributes(brokerUrl);
  return {
    takeUp(batch) {
      const fresh = batch.filter(({ span }) => span === null);
      if (fresh.length === 0) return () => {}; // they were only looked at again
      const span = startRootSpan(tracer, `process batch ${queue}`, {
        attributes: { ...broker, "messaging.destination.name": queue, [BATCH_COUNT]: batch.length },
        links: linksTo(batch.map(({ traceparent }) => traceparent)),
      });
      for (const delivery of fresh) {
        delivery.span = startProcess(tracer, delivery, queue, broker).addLink({
          context: span.spanContext(),
        });
        delivery.traceparent = traceparentOf(delivery.span);
      }
      return () => span.end();
    },
    settle(delivery, verdict, step) {
      if (step.kind === "look-again" || delivery.span === null) return;
      markOutcome(delivery.span, verdict, step);
      delivery.span.setAttribute("orderflow.looks", delivery.looks + 1).end();
    },
  };
}

function startProcess(tracer: Tracer, delivery: Delivery, queue: string, broker: Attributes): Span {
  const { message: { fields, properties }, parsed, past, traceparent } = delivery;
  const facts = {
    exchange: fields.exchange,
    key: fields.routingKey,
    queue,
    id: textIn(properties.messageId),
    correlationId: textIn(properties.correlationId),
  };
  return startSpanUnder(tracer, traceparent, `process ${destinationOf(facts)}`, {
    kind: SpanKind.CONSUMER,
    attributes: {
      ...broker,
      ...messageAttributes("process", facts),
      "messaging.rabbitmq.message.delivery_tag": fields.deliveryTag,
      "orderflow.attempt": past.retries + 1,
      ...(parsed.ok
        ? { "orderflow.event.type": parsed.event.type, [ORDER_ID]: parsed.event.data.orderId }
        : {}),
    },
  });
}

function markOutcome(span: Span, verdict: Verdict, step: Exclude<NextStep, { kind: "look-again" }>): void {
  span.setAttribute("orderflow.outcome", outcomeOf(verdict, step));
  if (step.kind === "dead-letter") failSpan(span, step.reason, step.detail);
  else if (verdict.kind === "failed") failSpan(span, "transient", verdict.error);
}

/** What came of a message: `done`, `duplicate`, `early` (delivered again later), `retry` or `dead-letter`. */
export function outcomeOf(verdict: Verdict, step: Exclude<NextStep, { kind: "look-again" }>): string {
  if (step.kind === "dead-letter") return step.kind;
  return step.kind === "retry" && verdict.kind !== "early" ? "retry" : verdict.kind;
}

/** A text from a property that anybody may have written. */
function textIn(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
