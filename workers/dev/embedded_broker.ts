// The embedded broker as a process of its own, so that it can be killed and come back like a real one. Its variables are
// the supervisor's, which has checked them.

import { isSupervised, readConfig } from "../../shared/process/config.ts";
import { startAmqpBroker } from "../../shared/embedded/amqp/server.ts";
import { startLog } from "../../shared/process/log.ts";
import { aborted, stopOnSignals } from "../../shared/process/stop.ts";
import { BROKER_PASSWORD_VARIABLE, BROKER_PORT_VARIABLE, BROKER_USER } from "./processes.ts";

if (import.meta.main) {
  const log = await startLog("broker", readConfig(["LOG_LEVEL", "LOG_FORMAT"]));
  using stop = stopOnSignals(log, { supervised: isSupervised() });
  const port = Number(Deno.env.get(BROKER_PORT_VARIABLE));
  const password = Deno.env.get(BROKER_PASSWORD_VARIABLE);
  const broker = startAmqpBroker({
    port,
    ...password ? { user: BROKER_USER, password } : {},
    log: ({ type, ...event }) => type === "memory alarm" ? log.warning(type, event) : log.debug(type, event),
  });
  log.info("Listening", { port });
  await aborted(stop.signal);
  await broker.stop();
}
