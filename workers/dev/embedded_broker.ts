/**
 * The embedded broker as a process of its own, so that it can be killed and come back like a real one.
 *
 * @module
 */
import { ConfigError, isSupervised, readConfig } from "../../shared/process/config.ts";
import { startAmqpBroker } from "../../shared/embedded/amqp/server.ts";
import { startLog } from "../../shared/process/log.ts";
import { EXIT_CONFIG } from "../../shared/process/run.ts";
import { aborted, stopOnSignals } from "../../shared/process/stop.ts";
import { BROKER_PASSWORD_VARIABLE, BROKER_PORT_VARIABLE, BROKER_USER } from "./processes.ts";

async function run(): Promise<void> {
  const config = readConfig(["LOG_LEVEL", "LOG_FORMAT"]);
  const log = await startLog("broker", { level: config.LOG_LEVEL, format: config.LOG_FORMAT });
  using stop = stopOnSignals(log, { supervised: isSupervised() });
  const port = Number(Deno.env.get(BROKER_PORT_VARIABLE));
  if (!(port > 0 && port < 65_536)) {
    throw new ConfigError(`Cannot start, ${BROKER_PORT_VARIABLE} must be a port from 1 to 65535`);
  }
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

if (import.meta.main) {
  await run().catch((error) => {
    if (!(error instanceof ConfigError)) throw error;
    console.error(error.message);
    Deno.exit(EXIT_CONFIG);
  });
}
