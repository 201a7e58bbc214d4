// One trace from the request to the last notification and the compensation, told from what real processes export.

import { assert, assertEquals, assertObjectMatch } from "@std/assert";
import { connect } from "amqplib";
import { join } from "node:path";
import { z } from "zod";
import { readQueueDepths } from "../shared/broker/connection.ts";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { insertDeadLetters } from "../shared/sql/set_aside.ts";
import { PROCESSES, RELAY } from "../workers/dev/processes.ts";
import { eventually } from "./support/eventually.ts";
import { callApi } from "./support/http.ts";
import { settled } from "./support/ledger.ts";
import { type ExportedSpan, type OtlpCollector, startOtlpCollector } from "./lessons/spans.ts";
import { newLetter, ORDER } from "./support/test_events.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

/** What the caller says of its own span; the last digits of the ids tell the orders apart. */
function caller(n: number) {
  const [traceId, spanId] = [`0af7651916cd43dd8448eb211c8031${n}0`, `b7ad6b71692033${n}1`];
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-01` };
}

const REFUNDED = `
POST /orders | SERVER api
  send events:order.created | PRODUCER outbox-relay
    process events:order.created:payments.order-created.v1 | CONSUMER payments-order-created | done
      charge | CLIENT payments-order-created
      send events:payment.succeeded | PRODUCER outbox-relay
        process events:payment.succeeded:enrollments.payment-succeeded.v1 | CONSUMER enrollments-payment-succeeded | done
          send events:enrollment.failed | PRODUCER outbox-relay
            process events:enrollment.failed:orders.lifecycle-events.v1 | CONSUMER orders-lifecycle-events | done
              send events:refund.requested | PRODUCER outbox-relay
                process events:refund.requested:payments.refund-requested.v1 | CONSUMER payments-refund-requested | done
                  refund | CLIENT payments-refund-requested
                  send events:refund.succeeded | PRODUCER outbox-relay
                    process events:refund.succeeded:notifications.final-events.v1 | CONSUMER notifications-final-events | done
                      send events:notification.sent | PRODUCER outbox-relay
                    process events:refund.succeeded:orders.lifecycle-events.v1 | CONSUMER orders-lifecycle-events | done
        process events:payment.succeeded:orders.payment-events.v1 | CONSUMER orders-payment-events | done`;

const logLineSchema = z.object({
  message: z.string(),
  correlationId: z.string(),
  traceId: z.string().nullish(),
});

/** Fails once, is tried again, fails once more, is put aside, redriven, and goes on from there. */
const REDRIVEN = `
POST /orders | SERVER api
  send events:order.created | PRODUCER outbox-relay
    process events:order.created:payments.order-created.v1 | CONSUMER payments-order-created | retry | transient: the payment provider cannot now
      charge | CLIENT payments-order-created | TransientError: the payment provider cannot now
      send payments.order-created.v1 | PRODUCER outbox-relay
        process payments.order-created.v1 | CONSUMER payments-order-created | dead-letter | retries exhausted: the payment provider cannot now
          charge | CLIENT payments-order-created | TransientError: the payment provider cannot now
          send payments.order-created.v1 | PRODUCER api
            process payments.order-created.v1 | CONSUMER payments-order-created | done
              charge | CLIENT payments-order-created
              send events:payment.failed | PRODUCER outbox-relay
                process events:payment.failed:notifications.final-events.v1 | CONSUMER notifications-final-events | done
                  send events:notification.sent | PRODUCER outbox-relay
                process events:payment.failed:orders.payment-events.v1 | CONSUMER orders-payment-events | done
  send events:order.created | PRODUCER outbox-relay
    process events:order.created:payments.order-created.v1 | CONSUMER payments-order-created | duplicate`;

Deno.test("an order is one trace, from the caller's span to the last notification and the compensation", async (t) => {
  await using resources = new AsyncDisposableStack();
  const logs = await Deno.makeTempDir();
  resources.defer(() => Deno.remove(logs, { recursive: true }));
  const collector = resources.use(startOtlpCollector());
  const stack = resources.use(await startTraced(collector, logs));
  // The relay starts behind the orders, so that they are one batch of it.
  const courses = [RESERVED_COURSES.success, RESERVED_COURSES.enrollmentFailure];
  const ids = await Promise.all(courses.map((courseId, n) => place(stack, n, courseId)));
  stack.start(RELAY.name);
  await settled(stack);

  await t.step("its tree", async () => {
    await endsAs(stack, collector, 1, REFUNDED);
    await eventually("the other order's first three spans", () => spansOf(collector, 0).length >= 3);
  });

  await t.step("a request without a caller's context begins a trace, and has its route too", async () => {
    await callApi("GET", `${stack.url}/ops/orders/${ids[0]}/timeline`);
    for (const route of ["GET /ops/orders/:id/timeline", "GET /readyz"]) {
      const isFirst = ({ name, parentId }: ExportedSpan) => name === route && parentId === "";
      await eventually(`a span of ${route}`, () => collector.spans.some(isFirst));
    }
  });

  await t.step("the spans have the attributes of the conventions", async () => {
    const [event] = await stack.db.sql`select id from outbox_events where type = 'order.created'
      and correlation_id = 'order-0'`;
    const [request, sent, processed] = spansOf(collector, 0);
    const about = { "orderflow.order.id": ids[0], "orderflow.correlation.id": "order-0" };
    const http = { "http.route": "/orders", "http.request.method": "POST" };
    assertObjectMatch(request?.attributes ?? {}, { ...http, ...about });
    const { hostname, port } = new URL(stack.broker.url);
    const common = {
      "messaging.system": "rabbitmq",
      "server.address": hostname,
      "server.port": Number(port || 5672),
      "messaging.rabbitmq.destination.routing_key": "order.created",
      "messaging.message.id": event?.id,
      "messaging.message.conversation_id": "order-0",
    };
    assertObjectMatch(sent?.attributes ?? {}, { ...common, "messaging.operation.type": "send" });
    const process = {
      "messaging.operation.type": "process",
      "orderflow.order.id": ids[0],
      "orderflow.attempt": 1,
    };
    assertObjectMatch(processed?.attributes ?? {}, { ...common, ...process });
  });

  await t.step("batches link to all that is in them, and what is in them to the batch", async () => {
    const parents = [0, 1].map((n) => spansOf(collector, n)[0]?.spanId ?? "");
    await linkedFrom(collector, "place orders", parents);
    const relayed = await linkedFrom(collector, "send batch", parents);
    assertEquals(relayed.length, 1, "the relay took both at once");
    assertEquals(relayed[0]?.attributes["messaging.batch.message_count"], 2);
    const sends = [0, 1].map((n) => spansOf(collector, n)[1]);
    for (const send of sends) assertEquals(send?.links.join(), relayed[0]?.spanId);
    const queue = stack.broker.topology.queues.paymentsOrderCreated.name;
    const sent = sends.map((send) => send?.spanId ?? "");
    const batches = await linkedFrom(collector, `process batch ${queue}`, sent);
    for (const n of [0, 1]) {
      const [link] = spansOf(collector, n)[2]?.links ?? [];
      assert(batches.some(({ spanId }) => spanId === link), "a message's span links to its batch");
    }
  });

  await t.step("retry, dead letter, redrive and republishing stay in the trace", async () => {
    const faults = [{ point: "provider.failing", times: 2, correlationId: "order-3" }];
    await callApi("PUT", `${stack.url}/ops/faults`, { faults });
    await place(stack, 3, RESERVED_COURSES.paymentFailure);
    const { sql } = stack.db;
    await eventually("the dead letter", async () => (await sql`select from dead_letters`).length === 1);
    await callApi("POST", `${stack.url}/ops/dead-letters/redrive`, {});
    await settled(stack);
    const [event] = await sql`select id from outbox_events where type = 'order.created'
      and correlation_id = 'order-3'`;
    await callApi("POST", `${stack.url}/ops/outbox/${event?.id}/republish`);
    await endsAs(stack, collector, 3, REDRIVEN);
  });

  await t.step("what the broker does not take is an error", async () => {
    const { traceparent } = caller(4);
    await insertDeadLetters(stack.db.sql, [newLetter("no.such.queue", { traceparent })]);
    await callApi("POST", `${stack.url}/ops/dead-letters/redrive`, {});
    const refused = "send no.such.queue | PRODUCER api | refused: returned by the broker: NO_ROUTE";
    await endsAs(stack, collector, 4, refused);
  });

  await t.step("every line of the logs about an order has its trace id", async () => {
    await Promise.all([...stack.pids().keys()].map((name) => stack.stop(name))); // all is written then
    const lines = (await Promise.all(
      [RELAY.name, ...stack.processes].map((name) => Deno.readTextFile(join(logs, `${name}.log`))),
    )).flatMap((text) => text.split("\n")).filter((line) => line.includes('"orderId"'))
      .map((line) => logLineSchema.parse(JSON.parse(line)));
    const said = new Set(lines.map(({ message, correlationId }) => `${message} ${correlationId}`));
    const wanted = ["Created order-0", "Processed order-1", "Failed for now order-3", "Dead letter order-3"];
    for (const what of wanted) assert(said.has(what), what);
    for (const { correlationId, traceId, message } of lines) {
      assertEquals(traceId, caller(Number(correlationId.replace("order-", ""))).traceId, message);
    }
  });
});

/** Starts all processes but the relay, with their spans going to `collector`, and waits until all consumers are subscribed. */
async function startTraced(collector: OtlpCollector, logs: string): Promise<TestStack> {
  const env = {
    OTEL_DENO: "true",
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_BSP_SCHEDULE_DELAY: "50",
    FAULTS_ENABLED: "true",
    CONSUMER_MAX_RETRIES: "1",
    LOG_FORMAT: "json",
  };
  const processes = PROCESSES.filter((spec) => spec !== RELAY).map(({ name }) => name);
  const stack = await startStack(env, { processes, logs });
  const connection = await connect(stack.broker.url);
  const channel = await connection.createChannel();
  await eventually("all consumers to be subscribed", async () => {
    const queues = await readQueueDepths(channel, stack.broker.topology);
    return queues.every(({ consumers }) => consumers > 0);
  });
  await connection.close();
  return stack;
}

/** Places the order number `n` with the trace context of its caller; answers with its id. */
async function place(stack: TestStack, n: number, courseId: string): Promise<string> {
  const headers = { traceparent: caller(n).traceparent, "x-correlation-id": `order-${n}` };
  return (await callApi("POST", `${stack.url}/orders`, { ...ORDER, courseId }, headers)).id;
}

/** The spans of the order number `n`, from the request down the first branch. */
function spansOf({ spans }: OtlpCollector, n: number): ExportedSpan[] {
  const below = (id: string): ExportedSpan[] => {
    const next = spans.find(({ parentId }) => parentId === id);
    return next ? [next, ...below(next.spanId)] : [];
  };
  return below(caller(n).spanId);
}

/** Waits until the spans below the caller's are `tree`, and checks that nothing else is in that trace. */
async function endsAs(stack: TestStack, { spans }: OtlpCollector, n: number, tree: string): Promise<void> {
  const { traceId, spanId } = caller(n);
  const wanted = tree.trim().split("\n");
  const seen = () => traceTree(spans.filter((span) => span.traceId === traceId), spanId, lineOf);
  const lineOf = (span: ExportedSpan) => {
    const name = span.name.replaceAll(stack.broker.topology.exchange.replace(/events$/, ""), "");
    const who = `${span.kind} ${span.service.replace("orderflow-", "")}`;
    const error = span.error === null ? null : `${span.attributes["error.type"]}: ${span.error}`;
    const what = [span.attributes["orderflow.outcome"], error].filter((part) => part != null);
    return [name, who, ...what].join(" | ");
  };
  await eventually(`the trace of order ${n}`, () => seen().join() === wanted.join()).catch(() => {});
  assertEquals(seen(), wanted);
  const all = spans.filter((span) => span.traceId === traceId);
  assertEquals(all.length, wanted.length, "none beside the tree");
}

/** Waits until the spans named `name` link to all of `ids`; answers with those that link to any. */
async function linkedFrom(
  { spans }: OtlpCollector,
  name: string,
  ids: readonly string[],
): Promise<ExportedSpan[]> {
  const linking = () => spans.filter((s) => s.name === name && s.links.some((link) => ids.includes(link)));
  await eventually(`the links of ${name}`, () => {
    const links = linking().flatMap((span) => span.links);
    return ids.every((id) => links.includes(id));
  });
  return linking();
}

/** The spans below the one with the id `rootId`, a line for each, indented by generation; siblings in the order of their lines. */
function traceTree(
  spans: readonly ExportedSpan[],
  rootId: string,
  lineOf: (span: ExportedSpan) => string,
): string[] {
  const children = spans.filter(({ parentId }) => parentId === rootId);
  const below = children.map((span) => [
    lineOf(span),
    ...traceTree(spans, span.spanId, lineOf).map((line) => `  ${line}`),
  ]);
  return below.toSorted(([a = ""], [b = ""]) => a < b ? -1 : a > b ? 1 : 0).flat();
}
