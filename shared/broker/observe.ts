// What is told of a consumer's batches and a publisher's messages: log lines, counts, metrics, spans.

import { Counter, Histogram } from "@prometheus-io/client";
import { SpanKind } from "@opentelemetry/api";
import { createCounts } from "../process/heartbeat.ts";
import { type Logger, ONE_BY_ONE } from "../process/log.ts";
import type { Registry } from "../process/metrics.ts";
import {
  type Attributes,
  failSpan,
  linksTo,
  ORDER_ID,
  type Span,
  startRootSpan,
  startSpanUnder,
  traceIdOf,
  traceparentOf,
  type Tracer,
} from "../process/tracing.ts";
import type { NewDeadLetter } from "../sql/set_aside.ts";
import { brokerUrls } from "./connection.ts";
import type { Delivery, Traced } from "./message.ts";
import type { OutgoingMessage, Publisher } from "./publish.ts";
import type { NextStep, Outcome } from "./settle.ts";

/** Watches a consumer work. It is told of every batch, and never throws. */
export interface ConsumerObserver {
  /** A batch is taken up; what an observer writes on a delivery holds for all that comes of it. */
  takeUp?(batch: readonly Delivery[]): void;
  settled(batch: SettledBatch): void;
}

/** A batch when it is acked, as far as its messages are not to be looked at again. */
export interface SettledBatch {
  readonly messages: readonly SettledMessage[];
  readonly retries: number;
  readonly letters: readonly NewDeadLetter[];
  readonly tookMs: number;
}

interface SettledMessage {
  readonly delivery: Omit<Delivery, "channel" | "message">;
  readonly outcome: Outcome;
  readonly step: NextStep;
}

function ackedOf({ messages }: SettledBatch): SettledMessage[] {
  return messages.filter(({ step }) => step.kind !== "look-again");
}

/** Counts batches, for a heartbeat. A batch that was only looked at is none. */
export function countBatches() {
  const counts = createCounts(["batches", "processed", "duplicates", "retries", "deadLetters"]);
  return {
    counts,
    settled(batch: SettledBatch): void {
      const kinds = ackedOf(batch).map(({ outcome }) => outcome.kind);
      if (kinds.length === 0) return;
      const processed = kinds.filter((kind) => kind === "done").length;
      const duplicates = kinds.filter((kind) => kind === "duplicate").length;
      const { retries, letters: { length: deadLetters } } = batch;
      counts.add({ batches: 1, processed, duplicates, retries, deadLetters });
    },
  };
}

/** Logs batches: dead letters always one by one, the rest by the size of the batch. */
export function logBatches(log: Logger): ConsumerObserver {
  return {
    settled({ messages, letters, tookMs }) {
      for (const letter of letters) {
        const { reason, detail, eventType, eventId, aggregateId: orderId, correlationId, attempts } = letter;
        const traceId = traceIdOf(letter.traceparent);
        const facts = { reason, detail, eventType, eventId, orderId, correlationId, traceId, attempts };
        log.error("Dead letter", facts);
      }
      const ms = Math.round(tookMs * 10) / 10;
      if (messages.length <= ONE_BY_ONE) {
        for (const message of messages) logOne(log, message, ms);
        return;
      }
      const counts: Record<string, number> = {};
      for (const { outcome: { kind } } of messages) counts[kind] = (counts[kind] ?? 0) + 1;
      log.info("Processed a batch", { ...counts, ms });
    },
  };
}

function logOne(log: Logger, { delivery, outcome }: SettledMessage, ms: number): void {
  const { parsed, retryState, traceparent } = delivery;
  if (!parsed.ok) return;
  const { type: event, eventId, correlationId } = parsed.event;
  const about = { event, orderId: parsed.aggregateId, correlationId, traceId: traceIdOf(traceparent) };
  switch (outcome.kind) {
    case "done":
      return log.info("Processed", { ...about, did: outcome.note, ms });
    case "duplicate":
      return log.info("Absorbed a duplicate", { ...about, eventId });
    case "early":
      return log.debug("Too early, waiting", { ...about, awaits: outcome.awaits });
    case "waiting":
      return; // it is on its way
    case "failed":
      return log.warning("Failed for now", { ...about, error: outcome.error, retries: retryState.retries });
    case "rejected":
      return; // it has its dead letter
    default:
      return outcome satisfies never;
  }
}

const OUTCOMES: readonly Outcome["kind"][] = ["done", "duplicate", "early", "failed", "rejected"];

const BATCH_BUCKETS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000];
const DURATION_BUCKETS_S = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const LATENCY_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/**
 * Makes the figures of `consumer` in `registry`. A message counts once for each delivery, when that is settled: not each
 * time that it is looked at. Every label has few values, and all series but the dead letters' are there from the start,
 * because Prometheus sees no increase in a series' first value
 * (https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics).
 */
export function createConsumerMetrics(registry: Registry, consumer: string): ConsumerObserver {
  const common = { labelNames: ["consumer"], registers: [registry] };
  const histogram = (name: string, help: string, buckets: number[]) => {
    const made = new Histogram({ name: `orderflow_consumer_${name}`, help, buckets, ...common });
    made.zero({ consumer });
    return made.labels(consumer);
  };
  const counter = (name: string, help: string, ...labels: string[]) => {
    const labelNames = ["consumer", ...labels];
    return new Counter({ name: `orderflow_consumer_${name}`, help, ...common, labelNames });
  };

  const sizes = histogram("batch_messages", "Messages that were taken up together.", BATCH_BUCKETS);
  const durations = histogram(
    "batch_duration_seconds",
    "From the taking up of a batch to its ack.",
    DURATION_BUCKETS_S,
  );
  const latencies = histogram(
    "event_latency_seconds",
    "From the time when an event happened to its ack, of those that were processed.",
    LATENCY_BUCKETS_S,
  );
  const messages = counter("messages_total", "Settled messages, by what became of them.", "outcome");
  const retries = counter("retries_total", "Messages that are to be delivered once more, later.");
  const letters = counter("dead_letters_total", "Messages that were given up on, by the reason.", "reason");
  for (const outcome of OUTCOMES) messages.inc({ consumer, outcome }, 0);
  retries.inc({ consumer }, 0);

  return {
    settled(batch) {
      const acked = ackedOf(batch);
      if (acked.length === 0) return;
      sizes.observe(batch.messages.length);
      durations.observe(batch.tookMs / 1000);
      const now = Date.now();
      for (const [outcome, ofKind] of Map.groupBy(acked, ({ outcome }) => outcome.kind)) {
        messages.inc({ consumer, outcome }, ofKind.length);
        for (const { delivery: { parsed } } of outcome === "done" ? ofKind : []) {
          if (parsed.ok) latencies.observe(Math.max(now - Date.parse(parsed.event.occurredAt), 0) / 1000);
        }
      }
      if (batch.retries > 0) retries.inc({ consumer }, batch.retries);
      for (const { reason } of batch.letters) letters.inc({ consumer, reason });
    },
  };
}

/** The attributes of all that is done with the broker at `url`, which is that of one node or of several. */
export function brokerAttributes(url: string): Attributes {
  const [only, ...others] = brokerUrls(url);
  if (others.length > 0) return { "messaging.system": "rabbitmq" }; // of a cluster's nodes, any
  const { hostname, port, protocol } = new URL(only);
  return {
    "messaging.system": "rabbitmq",
    "server.address": hostname,
    "server.port": Number(port || (protocol === "amqps:" ? 5671 : 5672)),
  };
}

/** Where a message went; a consumer's came through a queue. */
interface Destination {
  readonly exchange: string;
  readonly key: string;
  readonly queue?: string;
}

/** The destination's name, `exchange:key` or `exchange:key:queue`, without what is empty or said twice. */
export function destinationOf({ exchange, key, queue = "" }: Destination): string {
  return [exchange, key, queue === key ? "" : queue].filter((part) => part !== "").join(":") || "amq.default";
}

/** Starts the span of a batch: in a trace of its own, with links to the contexts that its messages came with. */
function startBatchSpan(tracer: Tracer, name: string, attributes: Attributes, messages: readonly Traced[]) {
  return startRootSpan(tracer, name, {
    attributes: { ...attributes, "messaging.batch.message_count": messages.length }, // the runtime writes a double
    links: linksTo(messages.map(({ traceparent }) => traceparent)),
  });
}

/** Starts the span of what is done with one message; what is undefined is no attribute. */
function startMessageSpan(
  tracer: Tracer,
  operation: "send" | "process",
  message: Destination & Pick<OutgoingMessage, "type" | "correlationId" | "traceparent"> & {
    id: string | null;
  },
  more: Attributes,
): Span {
  const destination = destinationOf(message);
  return startSpanUnder(tracer, message.traceparent, `${operation} ${destination}`, {
    kind: operation === "send" ? SpanKind.PRODUCER : SpanKind.CONSUMER,
    attributes: {
      ...more,
      "messaging.operation.name": operation,
      "messaging.operation.type": operation,
      "messaging.destination.name": destination,
      "messaging.rabbitmq.destination.routing_key": message.key || undefined,
      "messaging.message.id": message.id ?? undefined,
      "messaging.message.conversation_id": message.correlationId ?? undefined,
      "orderflow.event.type": message.type ?? undefined,
    },
  });
}

/**
 * Makes the spans of the consumer of `queue`: one for each message, and one for each batch. A message's span lasts until
 * it is settled, however often it is looked at, and is a child of the context that the message came with; its own
 * context replaces that one, so that it is passed on to all that the message causes. A message that goes back unsettled
 * leaves no span: whoever settles it does.
 */
export function createProcessSpans(tracer: Tracer, brokerUrl: string, queue: string): ConsumerObserver {
  const broker = brokerAttributes(brokerUrl);
  let batchSpan: Span | null = null; // one batch is processed at a time
  return {
    takeUp(batch) {
      const fresh = batch.filter(({ span }) => span === null);
      if (fresh.length === 0) return; // they are only looked at again
      const attributes = { ...broker, "messaging.destination.name": queue };
      batchSpan = startBatchSpan(tracer, `process batch ${queue}`, attributes, batch);
      const link = { context: batchSpan.spanContext() };
      for (const delivery of fresh) {
        const { message: { fields, properties }, parsed, retryState, traceparent } = delivery;
        const facts = {
          exchange: fields.exchange,
          key: fields.routingKey,
          queue,
          id: textIn(properties.messageId),
          type: parsed.ok ? parsed.event.type : null,
          correlationId: textIn(properties.correlationId),
          traceparent,
        };
        delivery.span = startMessageSpan(tracer, "process", facts, {
          ...broker,
          "messaging.rabbitmq.message.delivery_tag": fields.deliveryTag,
          "orderflow.attempt": retryState.retries + 1,
          [ORDER_ID]: parsed.ok ? parsed.aggregateId : undefined,
        }).addLink(link);
        delivery.traceparent = traceparentOf(delivery.span);
      }
    },
    settled({ messages }) {
      for (const { delivery: { span, looks }, outcome, step } of messages) {
        if (step.kind === "look-again" || span === null) continue;
        if (step.kind === "dead-letter") failSpan(span, step.reason, step.detail);
        else if (outcome.kind === "failed") failSpan(span, "transient", outcome.error);
        span.setAttribute("orderflow.outcome", outcomeOf(outcome, step));
        span.setAttribute("orderflow.looks", looks + 1).end();
      }
      batchSpan?.end();
      batchSpan = null;
    },
  };
}

/** A text from a property that anybody may have written. */
function textIn(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

/** A message's outcome: `done`, `duplicate`, `early` (delivered again later), `retry` or `dead-letter`. */
export function outcomeOf(outcome: Outcome, step: NextStep): string {
  if (step.kind === "dead-letter") return step.kind;
  return step.kind === "retry" && outcome.kind !== "early" ? "retry" : outcome.kind;
}

/**
 * A publisher that makes spans; without a tracer the one it wraps. Each message has a span under its trace context, and
 * goes out with the context of that span, so that whoever receives it comes below it in the trace. AMQP knows single
 * messages alone, so those have the spans of the conventions. The batch is ours.
 */
export function withSendSpans(publisher: Publisher, tracer: Tracer | null, brokerUrl: string): Publisher {
  if (!tracer) return publisher;
  const broker = brokerAttributes(brokerUrl);
  return {
    async publish(messages, route, timeoutMs) {
      const batch = startBatchSpan(tracer, "send batch", broker, messages);
      const link = { context: batch.spanContext() };
      const sending = messages.map((message) => {
        const facts = { ...message, exchange: route.exchange, key: route.keyOf(message) };
        return { message, span: startMessageSpan(tracer, "send", facts, broker).addLink(link) };
      });
      const traced = sending.map(({ message, span }) => ({ ...message, traceparent: traceparentOf(span) }));
      const outcome = await publisher.publish(traced, route, timeoutMs);
      const refused = new Map(outcome.refused.map(({ id, error }) => [id, error]));
      const unknown = new Set(outcome.unknown);
      for (const { message: { id }, span } of sending) {
        if (unknown.has(id)) failSpan(span, "unanswered", outcome.offence ?? "the broker gave no answer");
        const error = refused.get(id);
        if (error !== undefined) failSpan(span, "refused", error);
        span.end();
      }
      batch.end();
      return outcome;
    },
  };
}
