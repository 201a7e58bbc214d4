/**
 * `POST /ops/scenarios/…`: an order through the normal flow, with a course id that decides how it goes.
 *
 * @module
 */
import { Hono } from "hono";
import { RESERVED_COURSES, SCENARIO_USER } from "../shared/scenarios.ts";
import type { App, CorrelationEnv } from "./correlation.ts";
import { orderJson } from "./orders_routes.ts";
import type { PlaceOrder } from "./place_orders.ts";

/** The scenarios by their path, and the course that makes each go its way. */
const SCENARIOS: Readonly<Record<string, string>> = {
  "order-success": RESERVED_COURSES.success,
  "payment-failure": RESERVED_COURSES.paymentFailure,
  "enrollment-failure": RESERVED_COURSES.enrollmentFailure,
};

const SCENARIO_AMOUNT = "49.90";

/** One route per scenario; each answers 201 with the new order. */
export function scenarioRoutes(placeOrder: PlaceOrder): App {
  const app = new Hono<CorrelationEnv>();
  for (const [path, courseId] of Object.entries(SCENARIOS)) {
    app.post(`/${path}`, async (c) => {
      const cause = { correlationId: c.get("correlationId"), traceparent: c.get("traceparent") };
      const order = await placeOrder({ userId: SCENARIO_USER, courseId, amount: SCENARIO_AMOUNT }, cause);
      return c.json(orderJson(order), 201, { location: `/orders/${order.id}` });
    });
  }
  return app;
}
