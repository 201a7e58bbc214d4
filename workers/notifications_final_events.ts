/**
 * The notifications module's consumer of the final outcomes: records what is "sent".
 *
 * @module
 */
import { runConsumerProcess } from "./consumer_process.ts";
import { createNotifyHandler } from "./notifications/notify_outcomes.ts";

if (import.meta.main) {
  await runConsumerProcess({
    queue: "notificationsFinalEvents",
    role: "orderflow_notifications",
    createHandler: createNotifyHandler,
  });
}
