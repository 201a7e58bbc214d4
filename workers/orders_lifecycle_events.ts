// The orders module's consumer of `enrollment.granted`, `enrollment.failed` and `refund.succeeded`.

import { runProcess } from "../shared/process/run.ts";
import { consumerScript } from "./consumer.ts";
import { moveEach } from "./orders/move_orders.ts";

export const script = consumerScript({
  queue: "ordersLifecycleEvents",
  role: "orderflow_orders",
  handle: moveEach,
});

if (import.meta.main) await runProcess(script);
