// `POST /ops/scenarios/…`: an order through the normal flow, with a course id that decides how it goes, and with
// something that goes wrong on the way.

import type { Cause } from "../../shared/broker/message.ts";
import { toQueue } from "../../shared/broker/publish.ts";
import { type EventData, type EventType, makeEvent } from "../../shared/events.ts";
import { orderSchema, type ScenarioInfo, scenariosSchema } from "../../shared/ops/answers.ts";
import { armFaults, type FaultPoint } from "../../shared/ops/faults.ts";
import { ORDER_ID } from "../../shared/process/tracing.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import type { QueueKey } from "../../shared/topology.ts";
import { causeOf } from "../headers.ts";
import { type App, nothingAt, type RequestContext, unavailable } from "../http.ts";
import { json, LOCATION, route, routes } from "../openapi/route.ts";
import { orderJson } from "../orders.ts";
import { faultsAreOff, headStart } from "./interventions.ts";
import type { OpsDeps } from "./operations.ts";

const SCENARIO_AMOUNT = "49.90";
/** How long the broker may take to confirm a scenario's message, in milliseconds. */
const CONFIRM_TIMEOUT_MS = 5000;

/** One scenario; what it arms or sends is there only where `FAULTS_ENABLED` is on. */
interface Scenario {
  /** The last part of its path. */
  readonly name: string;
  readonly group: string;
  readonly expect: string;
  /** The course, which decides how the order goes when nothing fails. */
  readonly courseId: string;
  /** Armed before the order is placed, for it alone, by the correlation id; once, anywhere, with the point's own delay. */
  readonly fault?: { readonly point: FaultPoint; readonly times?: number; readonly queue?: QueueKey };
  /** Sent to one queue, past the exchange, behind the order; `id` is what the broker's answer names. */
  readonly message?: (orderId: string, cause: Cause) => {
    readonly queue: QueueKey;
    readonly id: string;
    readonly type: string;
    readonly body: string;
  };
}

const { success, paymentFailure, enrollmentFailure } = RESERVED_COURSES;

function scenario(
  name: string,
  expect: string,
  more: Partial<Pick<Scenario, "courseId" | "fault" | "message">> = {},
): Omit<Scenario, "group"> {
  return { name, expect, courseId: success, ...more };
}

/** An event that one queue gets behind the order, with `wrong` in its envelope. */
function message<T extends EventType>(
  queue: QueueKey,
  type: T,
  dataOf: (orderId: string) => EventData<T>,
  wrong: object = {},
): Pick<Scenario, "message"> {
  return {
    message: (orderId, cause) => {
      const { event } = makeEvent(type, dataOf(orderId), cause, new Date());
      return { queue, id: event.eventId, type, body: JSON.stringify({ ...event, ...wrong }) };
    },
  };
}

const GROUPS: Readonly<Record<string, readonly Omit<Scenario, "group">[]>> = {
  Outcomes: [
    scenario("order-success", "COMPLETED: paid, and the seat is granted."),
    scenario("payment-failure", "PAYMENT_FAILED: the card is declined.", { courseId: paymentFailure }),
    scenario("enrollment-failure", "REFUNDED: paid, but no seat is left.", { courseId: enrollmentFailure }),
  ],
  "Payment provider": [
    scenario("provider-slow", "COMPLETED, two seconds later than usual: the provider takes its time.", {
      fault: { point: "provider.slow", queue: "paymentsOrderCreated" },
    }),
    scenario(
      "provider-timeout",
      "COMPLETED at the third attempt: the provider gives no answer twice, and charges once.",
      { fault: { point: "provider.timeout", times: 2, queue: "paymentsOrderCreated" } },
    ),
    scenario(
      "provider-down",
      "PENDING with a dead letter, some ten seconds later: the provider fails four times, which is all of the " +
        "three retries. Redriven, it is COMPLETED.",
      { fault: { point: "provider.failing", times: 4, queue: "paymentsOrderCreated" } },
    ),
    scenario(
      "refund-failing",
      "REFUNDED at the third attempt: the provider fails twice when it is to give the money back.",
      {
        courseId: enrollmentFailure,
        fault: { point: "provider.failing", times: 2, queue: "paymentsRefundRequested" },
      },
    ),
  ],
  Database: [
    scenario(
      "database-timeout",
      "COMPLETED: a statement of the enrollments' transaction times out twice and is tried again, later.",
      { fault: { point: "database.timeout", times: 2, queue: "enrollmentsPaymentSucceeded" } },
    ),
  ],
  Delivery: [
    scenario(
      "duplicate-delivery",
      "COMPLETED with one charge: each event of the order comes twice, and the inbox absorbs the second.",
      { fault: { point: "delivery.duplicate", times: 4 } },
    ),
    scenario(
      "delayed-delivery",
      "COMPLETED, three seconds later than usual: the broker holds order.created back.",
      { fault: { point: "delivery.delayed" } },
    ),
    scenario(
      "event-too-early",
      "COMPLETED: the order hears of its seat before it hears of its payment, and waits.",
      { fault: { point: "delivery.reordered", queue: "ordersPaymentEvents" } },
    ),
    scenario(
      "lost-message",
      "COMPLETED, up to two minutes later: the broker loses order.created, and reconciliation sends it again.",
      { fault: { point: "delivery.lost" } },
    ),
    scenario(
      "broker-connection-lost",
      "COMPLETED: the relay's connection goes away before the confirm; it connects and publishes again.",
      { fault: { point: "relay.connection-lost" } },
    ),
  ],
  "Bad messages": [
    scenario(
      "malformed-message",
      "COMPLETED, and a dead letter: what came beside it to the payments is not JSON.",
      {
        message: (orderId) => ({
          queue: "paymentsOrderCreated",
          id: crypto.randomUUID(),
          type: "order.created",
          body: `{"orderId":"${orderId}`,
        }),
      },
    ),
    scenario(
      "invalid-payload",
      "COMPLETED, and a dead letter: what came beside it to the payments has an amount below zero.",
      message("paymentsOrderCreated", "order.created", (orderId) => {
        return { orderId, userId: orderId, courseId: success, amount: "-49.90" };
      }),
    ),
    scenario(
      "unknown-version",
      "COMPLETED, and a dead letter: what came beside it to the enrollments is of version 2.",
      message("enrollmentsPaymentSucceeded", "payment.succeeded", (orderId) => {
        return { orderId, paymentId: orderId, courseId: success, amount: "49.90" };
      }, { version: 2 }),
    ),
    scenario(
      "illegal-transition",
      "COMPLETED, and a dead letter: a refund that nobody asked for waits until the order is complete, and is " +
        "illegal then.",
      message("ordersLifecycleEvents", "refund.succeeded", (orderId) => ({ orderId, paymentId: orderId })),
    ),
    scenario(
      "poison-message",
      "PENDING with a dead letter, some fifteen seconds later: order.created ends the payments worker six times, " +
        "and is put aside. Redriven, it is COMPLETED.",
      { fault: { point: "consumer.crash-before-commit", times: 6, queue: "paymentsOrderCreated" } },
    ),
  ],
  Crashes: [
    scenario(
      "crash-before-publish",
      "COMPLETED: the relay ends before it publishes order.created; started again, it finds it in the outbox.",
      { fault: { point: "relay.crash-before-publish" } },
    ),
    scenario(
      "crash-after-confirm",
      "COMPLETED with one charge: the relay ends before it marks order.created as published, and publishes it " +
        "again.",
      { fault: { point: "relay.crash-after-confirm" } },
    ),
    scenario(
      "crash-before-commit",
      "COMPLETED with one charge: the payments worker has charged and ends before it commits; the next one asks " +
        "again with the same key.",
      { fault: { point: "consumer.crash-before-commit", queue: "paymentsOrderCreated" } },
    ),
    scenario(
      "crash-after-commit",
      "COMPLETED with one charge: the payments worker ends before it acks; the inbox absorbs the redelivery.",
      { fault: { point: "consumer.crash-after-commit", queue: "paymentsOrderCreated" } },
    ),
  ],
};

/** Every scenario, in the order in which people are shown them. */
export const SCENARIOS: readonly Scenario[] = Object.entries(GROUPS)
  .flatMap(([group, scenarios]) => scenarios.map((one) => ({ ...one, group })));

/** Whether a scenario is there only where `FAULTS_ENABLED` is on. */
function needsFaults({ fault, message }: Scenario): boolean {
  return fault !== undefined || message !== undefined;
}

type ScenarioDeps = Pick<OpsDeps, "placeOrder" | "opsSql" | "publisher" | "faults" | "record">;

/** What an instance offers: without faults, only the scenarios that need none. */
export function offeredScenarios(hasFaults: boolean): ScenarioInfo[] {
  return SCENARIOS.filter((scenario) => hasFaults || !needsFaults(scenario))
    .map(({ name, group, expect }) => ({ name, path: `/ops/scenarios/${name}`, group, expect }));
}

/** Lists what this instance offers, and plays it: each answers 201 with the new order. */
export function scenarioRoutes(deps: ScenarioDeps): App {
  const scenarios = offeredScenarios(deps.faults !== undefined);
  return routes(
    "Scenarios",
    route("GET /", "listScenarios", "The scenarios that this instance offers", {
      answers: [json(200, "Each with what to expect.", scenariosSchema)],
      handle: () => ({ scenarios }),
    }),
    route("POST /:scenario", "playScenario", "Place an order that goes as the scenario says", {
      parameters: [{
        name: "scenario",
        in: "path",
        required: true,
        description: scenarios.map(({ name, expect }) => `- \`${name}\`: ${expect}`).join("\n"),
        schema: { type: "string", enum: scenarios.map(({ name }) => name) },
        example: "order-success",
      }],
      answers: [json(201, "The order, pending.", orderSchema, LOCATION)],
      refusals: {
        404: "This instance offers no such scenario.",
        503: "The database cannot be reached, or the broker, where the scenario sends it something.",
      },
      handle: async ({ c }) => {
        const cause = causeOf(c);
        const scenario = scenarioOr404(c, deps);
        const order = await play(scenario, deps, cause);
        const subject = { scenario: scenario.name, orderId: order.id };
        await deps.record(deps.opsSql, c, { action: "play scenario", subject });
        c.get("span")?.setAttribute(ORDER_ID, order.id);
        c.header("location", `/orders/${order.id}`);
        return orderJson(order);
      },
    }),
  );
}

function scenarioOr404(c: RequestContext, { faults }: ScenarioDeps): Scenario {
  const scenario = SCENARIOS.find(({ name }) => name === c.req.param("scenario"));
  if (!scenario) throw nothingAt(c);
  if (!faults && needsFaults(scenario)) throw faultsAreOff(c);
  return scenario;
}

async function play(
  { courseId, fault, message }: Scenario,
  { placeOrder, opsSql, publisher, faults: topology }: ScenarioDeps,
  cause: Cause,
) {
  const broker = message ? publisher() : null;
  if (message && !broker) throw brokerAway("no order was placed");
  const { correlationId } = cause;
  if (fault && topology) {
    const { point, times = 1, queue } = fault;
    const consumer = queue ? topology.queues[queue].name : null;
    const armed = { point, times, consumer, correlationId, delayMs: null };
    await armFaults(opsSql, [armed], new Date(), { byScenario: true });
    await headStart();
  }
  const order = await placeOrder({ userId: SCENARIO_USER, courseId, amount: SCENARIO_AMOUNT }, cause);
  if (message && broker && topology) {
    const { queue, ...sent } = { ...message(order.id, cause), ...cause, occurredAt: null };
    const { confirmed } = await broker.publish(
      [sent],
      toQueue(topology.queues[queue].name),
      CONFIRM_TIMEOUT_MS,
    );
    if (confirmed.length === 0) throw brokerAway("the order was placed, and the message was not sent");
  }
  return order;
}

function brokerAway(what: string) {
  return unavailable(`The broker cannot be reached at the moment; ${what}. Try again.`);
}
