/**
 * `POST /ops/scenarios/…`: an order through the normal flow, with a course id that decides how it goes, and with
 * something that goes wrong on the way.
 *
 * @module
 */
import { Hono } from "hono";
import { type Publisher, toQueue } from "../../shared/broker/publish.ts";
import type { Topology } from "../../shared/topology.ts";
import type { Cause } from "../../shared/broker/message.ts";
import { armFaults, type Fault } from "../../shared/ops/faults.ts";
import { SCENARIO_USER } from "../../shared/scenarios.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { orderSchema, scenariosSchema } from "../../shared/ops/answers.ts";
import { ORDER_ID } from "../../shared/process/tracing.ts";
import type { App, CorrelationEnv } from "../correlation.ts";
import { describeRoutes, json, LOCATION, problems } from "../openapi/describe.ts";
import type { Description } from "../openapi/description.ts";
import { headStart } from "./faults.ts";
import { HttpProblem } from "../http.ts";
import { orderJson } from "../orders.ts";
import type { PlaceOrder } from "../place_orders.ts";
import {
  needsFaults,
  type Scenario,
  type ScenarioFault,
  type ScenarioMessage,
  SCENARIOS,
} from "./scenario_list.ts";

export interface ScenarioDeps {
  readonly placeOrder: PlaceOrder;
  readonly opsSql: Sql;
  /** Sends to single queues; null while the broker cannot be reached. */
  readonly publisher: () => Publisher | null;
  /** The queues by their names; absent where `FAULTS_ENABLED` is off, and then nothing can be made to fail. */
  readonly faults?: Topology;
}

const SCENARIO_AMOUNT = "49.90";
/** How long the broker may take to confirm a scenario's message, in milliseconds. */
const CONFIRM_TIMEOUT_MS = 5000;

/** A scenario as people see it. */
export interface OfferedScenario extends Pick<Scenario, "name" | "group" | "expect"> {
  readonly path: string;
}

/** What an instance offers: without faults, only the scenarios that need none. */
export function offeredScenarios(hasFaults: boolean): OfferedScenario[] {
  return SCENARIOS.filter((scenario) => hasFaults || !needsFaults(scenario))
    .map(({ name, group, expect }) => ({ name, path: `/ops/scenarios/${name}`, group, expect }));
}

/** Lists what this instance offers, and plays it: each answers 201 with the new order. */
export function scenarioRoutes(deps: ScenarioDeps): App {
  const app = new Hono<CorrelationEnv>();
  const offered = offeredScenarios(deps.faults !== undefined);

  app.get("/", (c) => c.json({ scenarios: offered }));

  app.post("/:scenario", async (c) => {
    const isOffered = offered.some(({ name }) => name === c.req.param("scenario"));
    const scenario = SCENARIOS.find(({ name }) => name === c.req.param("scenario"));
    if (!isOffered || !scenario) throw new HttpProblem(404, `There is nothing at ${c.req.path}.`);
    const cause = { correlationId: c.get("correlationId"), traceparent: c.get("traceparent") };
    const order = await play(scenario, deps, cause);
    c.get("span")?.setAttribute(ORDER_ID, order.id);
    return c.json(orderJson(order), 201, { location: `/orders/${order.id}` });
  });

  return describeRoutes(app, { "GET /": describeList, "POST /:scenario": () => describePlay(offered) });
}

function describeList(): Description {
  return {
    operationId: "listScenarios",
    tags: ["Scenarios"],
    summary: "The scenarios that this instance offers",
    responses: { 200: json("Each with what to expect.", scenariosSchema) },
  };
}

function describePlay(offered: readonly OfferedScenario[]): Description {
  return {
    operationId: "playScenario",
    tags: ["Scenarios"],
    summary: "Place an order that goes as the scenario says",
    parameters: [{
      name: "scenario",
      in: "path",
      required: true,
      description: offered.map(({ name, expect }) => `- \`${name}\`: ${expect}`).join("\n"),
      schema: { type: "string", enum: offered.map(({ name }) => name) },
      example: "order-success",
    }],
    responses: {
      201: json("The order, pending.", orderSchema, LOCATION),
      ...problems({
        404: "This instance offers no such scenario.",
        503: "The database cannot be reached, or the broker, where the scenario sends it something.",
      }),
    },
  };
}

async function play({ courseId, faults, message }: Scenario, deps: ScenarioDeps, cause: Cause) {
  const publisher = message ? publisherOr503(deps.publisher()) : null;
  const { faults: topology } = deps;
  if (faults && topology) {
    await armFaults(deps.opsSql, faults.map((fault) => toFault(fault, topology, cause)), new Date());
    await headStart();
  }
  const order = await deps.placeOrder({ userId: SCENARIO_USER, courseId, amount: SCENARIO_AMOUNT }, cause);
  if (message && publisher && topology) await send(publisher, topology, message(order.id, cause), cause);
  return order;
}

function toFault({ point, times, queue, delayMs }: ScenarioFault, { queues }: Topology, cause: Cause): Fault {
  return {
    point,
    times: times ?? 1,
    consumer: queue ? queues[queue].name : null,
    correlationId: cause.correlationId,
    delayMs: delayMs ?? null,
  };
}

async function send(
  publisher: Publisher,
  { queues }: Topology,
  { queue, id, type, body }: ScenarioMessage,
  { correlationId, traceparent }: Cause,
): Promise<void> {
  const message = { id, type, correlationId, traceparent, occurredAt: null, body };
  const { confirmed } = await publisher.publish([message], toQueue(queues[queue].name), CONFIRM_TIMEOUT_MS);
  if (confirmed.length === 0) throw brokerAway("the order was placed, and the message was not sent");
}

function publisherOr503(publisher: Publisher | null): Publisher {
  if (publisher) return publisher;
  throw brokerAway("no order was placed");
}

function brokerAway(what: string): HttpProblem {
  return new HttpProblem(503, `The broker cannot be reached at the moment; ${what}. Try again.`, {
    headers: { "retry-after": "1" },
  });
}
