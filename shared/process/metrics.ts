// A process's figures for Prometheus: those that every process has, and a worker's listener.

import { cpuUsage } from "node:process";
import * as prometheus from "@prometheus-io/client";
import config from "../../deno.json" with { type: "json" };
import { type Config, ConfigError, type VariableName } from "./config.ts";
import { messageOf } from "./errors.ts";
import { keepListening } from "./listen.ts";
import type { Logger } from "./log.ts";

/** The version in `deno.json`. It comes with the code, so no process needs a file or a variable for it. */
export const VERSION: string = config.version;

export type Registry = prometheus.Registry;

/**
 * Makes a registry for the figures of the process named `process`, and puts those in that every process has, under the
 * names that Prometheus' own clients use (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics).
 * They are read when they are asked for; nothing runs in between. They are not the client's default metrics: those keep
 * a timer going, 1.3 % of a core at rest (measured with its predecessor, prom-client 15), and want to read /proc for what
 * no process here may read there.
 */
export function createRegistry(process: string): Registry {
  const registry = new prometheus.Registry();
  const registers = [registry];
  new prometheus.Gauge({
    name: "orderflow_build_info",
    help: "1, with the process's name, its version and that of Deno as labels.",
    labelNames: ["process", "version", "deno"],
    registers,
  }).set({ process, version: VERSION, deno: Deno.version.deno }, 1);
  new prometheus.Gauge({
    name: "process_start_time_seconds",
    help: "When the process started, in seconds since 1970.",
    registers,
  }).set(performance.timeOrigin / 1000);
  new prometheus.Gauge({
    name: "process_resident_memory_bytes",
    help: "Memory that the process has resident.",
    registers,
    collect() {
      this.set(Deno.memoryUsage().rss);
    },
  });
  new prometheus.Counter({
    name: "process_cpu_seconds_total",
    help: "Processor time of the process, user and system.",
    registers,
    collect() {
      const { user, system } = cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  return registry;
}

export const METRICS_VARIABLES = ["METRICS_HOST", "METRICS_PORT"] as const satisfies readonly VariableName[];

export type WorkerMetrics = NonNullable<ReturnType<typeof startMetrics>>;

/**
 * Starts the figures of the worker named `process`, and serves `GET /metrics`
 * (https://prometheus.io/docs/instrumenting/exposition_formats/) and `GET /healthz`, and nothing else. There is no token:
 * whoever reaches the address reads all figures. Null where `METRICS_PORT` is unset: then nothing listens, and nothing
 * needs to be counted; 0 is any free port. `stop` waits for nobody, not even in the middle of an answer.
 *
 * Errors: `ConfigError` when nobody can listen there, for example because the port is taken.
 */
export function startMetrics(
  process: string,
  config: Config<(typeof METRICS_VARIABLES)[number]>,
  log: Logger,
) {
  const { METRICS_HOST: hostname, METRICS_PORT: port } = config;
  if (port === undefined) return null;
  const registry = createRegistry(process);
  const closing = new AbortController();
  const options = {
    hostname,
    signal: closing.signal,
    onListen: () => {},
    onError: (error: unknown) => {
      log.error("The figures could not be told", { error });
      return new Response("The figures could not be told; the log says why.\n", { status: 500 });
    },
  };
  const start = (port: number) => listen({ ...options, port }, (request) => answer(registry, request));
  const server = keepListening(start, port, log, closing.signal);
  log.info("Listening", { url: `http://${hostname}:${server.port}/metrics` });
  return {
    registry,
    port: server.port,
    async stop(): Promise<void> {
      closing.abort(); // shutdown() alone would wait for whoever does not read
      await server.shutdown();
    },
  };
}

function listen(
  options: Deno.ServeTcpOptions & { readonly hostname: string; readonly port: number },
  handler: Deno.ServeHandler<Deno.NetAddr>,
) {
  try {
    return Deno.serve(options, handler);
  } catch (error) {
    const advice = error instanceof Deno.errors.AddrInUse
      ? "it is taken. Stop what uses it, or set METRICS_PORT to another one"
      : messageOf(error) +
        ". Set METRICS_HOST and METRICS_PORT to what this process may listen on, or neither";
    throw new ConfigError(`Cannot serve metrics on port ${options.port} of ${options.hostname}: ${advice}.`);
  }
}

async function answer(registry: Registry, request: Request): Promise<Response> {
  const path = URL.parse(request.url)?.pathname; // the host is the client's to write, and may make it no URL
  if (path !== "/metrics" && path !== "/healthz") {
    return new Response("There is /metrics and /healthz, and nothing else.\n", { status: 404 });
  }
  if (request.method !== "GET") {
    return new Response(`${path} takes GET alone.\n`, { status: 405, headers: { allow: "GET" } });
  }
  if (path === "/healthz") return Response.json({ status: "up" });
  return new Response(await registry.metrics(), { headers: { "content-type": registry.contentType } });
}
