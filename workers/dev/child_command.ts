/**
 * How a child process is called: its permissions and its environment, nothing beyond what it needs.
 *
 * @module
 */
import { SUPERVISED_VARIABLE, VARIABLES } from "../../shared/config.ts";
import type { ProcessSpec } from "./processes.ts";

/** Variables by name. */
export type Environment = Readonly<Record<string, string>>;

/** What Deno itself reads, to find its caches, certificates and telemetry settings. */
const RUNTIME_VARIABLES = ["PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR", "NO_COLOR", "FORCE_COLOR"];
const RUNTIME_PREFIXES = ["DENO_", "OTEL_"];

/**
 * The environment of a child: of `inherited` only OrderFlow's own variables and what Deno reads, then `set` over it.
 * Lines are for people, unless `LOG_FORMAT` says otherwise.
 */
export function childEnvironment(inherited: Environment, set: Environment): Record<string, string> {
  const wanted = (name: string) =>
    name in VARIABLES || RUNTIME_VARIABLES.includes(name) ||
    RUNTIME_PREFIXES.some((prefix) => name.startsWith(prefix));
  const kept = Object.entries(inherited).filter(([name, value]) => wanted(name) && value !== "");
  return { LOG_FORMAT: "pretty", ...Object.fromEntries(kept), ...set, [SUPERVISED_VARIABLE]: "1" };
}

/** The name under which a process shows in traces. Deno reads it, and only where `OTEL_DENO` is on. */
export function serviceName({ name }: ProcessSpec): Environment {
  return { OTEL_SERVICE_NAME: `orderflow-${name}` };
}

const DEFAULT_PORTS: Readonly<Record<string, string>> = {
  "postgres:": "5432",
  "postgresql:": "5432",
  "amqp:": "5672",
  "amqps:": "5671",
};

/** The address that a service's URL names, as `host:port`; without a port, the one of its protocol. */
export function addressOf(serviceUrl: string): string {
  const { protocol, hostname, port } = new URL(serviceUrl);
  return `${hostname}:${port || DEFAULT_PORTS[protocol]}`;
}

/** Host and port as one address, an IPv6 one in brackets. */
export function joinAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * V8's heap. Its limit is 256 MiB instead of a share of the machine's memory, because V8 lets a heap grow the more before
 * it collects the higher the limit is; and where new objects are made has 8 MiB each half instead of 16. With a million
 * events waiting, the largest process takes 125 MiB instead of more than 200, at the same processor time for an order.
 * Halves of 2 MiB save 10 MiB more and cost a sixth.
 */
const HEAP = "--v8-flags=--max-semi-space-size=8,--max-old-space-size=256";

/**
 * The arguments of `deno` that run `spec` under its permission set, with a network of no more than `addresses`
 * (`host:port`, to connect to or to listen on). These replace the set's own list, which is for processes that people
 * start by themselves.
 */
export function denoArguments(spec: ProcessSpec, addresses: readonly string[]): string[] {
  const { permissions, entry } = spec;
  return [
    "run",
    "-q",
    "--no-prompt",
    "--cached-only",
    HEAP,
    `-P=${permissions}`,
    `--allow-net=${addresses}`,
    entry,
  ];
}
