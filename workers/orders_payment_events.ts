// The orders module's consumer of `payment.succeeded` and `payment.failed`.

import { runProcess } from "../shared/process/run.ts";
import { consumerScript } from "./consumer.ts";
import { moveEach } from "./orders/move_orders.ts";

export const script = consumerScript({
  queue: "ordersPaymentEvents",
  role: "orderflow_orders",
  handle: moveEach,
});

if (import.meta.main) await runProcess(script);
