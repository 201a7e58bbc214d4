/**
 * The figures that every process has: which build it is, and what it uses of the machine.
 *
 * @module
 */
import { cpuUsage } from "node:process";
import * as prometheus from "prom-client";
import { VERSION } from "./version.ts";

/** Where a process keeps its figures. */
export type Registry = prometheus.Registry;

/**
 * Makes a registry for the figures of the process named `process`, and puts those in that every process has, under the
 * names that Prometheus' own clients use (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics).
 * They are read when they are asked for; nothing runs in between. They are not prom-client's default metrics: those keep
 * a timer going, 1.3 % of a core at rest, and want to read /proc for what no process here may read there.
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
