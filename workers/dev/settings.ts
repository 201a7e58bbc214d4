/**
 * What a run of the supervisor is made of, out of the environment.
 *
 * @module
 */
import type { Topology } from "../../shared/broker/topology.ts";
import { readConfig, topologyOf, type VariableName, VARIABLES } from "../../shared/config.ts";
import type { Environment } from "./child_command.ts";

/** What a run is made of. */
export interface Settings {
  /** Null where it is to be embedded. */
  readonly databaseUrl: string | null;
  /** Null where it is to be embedded. */
  readonly amqpUrl: string | null;
  /** Whether each process takes on its module's role. */
  readonly databaseRoles: boolean;
  /** Exchange and queues under their configured names. */
  readonly topology: Topology;
  /** Where the API listens. */
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  /** Where the workers serve their metrics. */
  readonly metricsHost: string;
  /** The port of the first of them, 0 for any free ones; null where they serve none. */
  readonly metricsPort: number | null;
  /** Whether faults may be injected; on unless told, which is other than where a process is started by itself. */
  readonly faultsEnabled: boolean;
}

/** Stand in for what is embedded and has no URL yet, while everything else is checked. */
const UNSET: Environment = { DATABASE_URL: "postgres://embedded", AMQP_URL: "amqp://embedded" };

/**
 * Reads and checks every variable of every process, so that a bad value is told once and before anything starts; the
 * URLs of the two services may be unset.
 *
 * Errors: `ConfigError`, naming every variable at fault.
 */
export function readSettings(env: Environment): Settings {
  const given = (name: string) => env[name]?.trim() || undefined;
  const config = readConfig(
    Object.keys(VARIABLES) as VariableName[],
    (name) => given(name) ?? UNSET[name],
  );
  return {
    databaseUrl: given("DATABASE_URL") ? config.DATABASE_URL : null,
    amqpUrl: given("AMQP_URL") ? config.AMQP_URL : null,
    databaseRoles: config.DATABASE_ROLES,
    topology: topologyOf(config),
    host: config.HOST,
    port: config.PORT,
    metricsHost: config.METRICS_HOST,
    metricsPort: config.METRICS_PORT ?? null,
    faultsEnabled: given("FAULTS_ENABLED") ? config.FAULTS_ENABLED : true,
  };
}
