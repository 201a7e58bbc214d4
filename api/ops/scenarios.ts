/**
 * `POST /ops/scenarios/…`: an order through the normal flow, with a course id that decides how it goes, and with
 * something that goes wrong on the way.
 *
 * @module
 */
import type { Cause } from "../../shared/broker/message.ts";
import { toQueue } from "../../shared/broker/publish.ts";
import { orderSchema, type ScenarioInfo, scenariosSchema } from "../../shared/ops/answers.ts";
import { armFaults } from "../../shared/ops/faults.ts";
import { ORDER_ID } from "../../shared/process/tracing.ts";
import { SCENARIO_USER } from "../../shared/scenarios.ts";
import { causeOf } from "../correlation.ts";
import { type App, nothingAt, type RequestContext, unavailable } from "../http.ts";
import { json, LOCATION, route, routes } from "../openapi/route.ts";
import { orderJson } from "../orders.ts";
import { faultsAreOff, headStart } from "./interventions.ts";
import type { OpsDeps } from "./operations.ts";
import { needsFaults, type Scenario, SCENARIOS } from "./scenario_list.ts";

type ScenarioDeps = Pick<OpsDeps, "placeOrder" | "opsSql" | "publisher" | "faults" | "record">;

const SCENARIO_AMOUNT = "49.90";
/** How long the broker may take to confirm a scenario's message, in milliseconds. */
const CONFIRM_TIMEOUT_MS = 5000;

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
