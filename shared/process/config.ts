// The configuration: every variable, what it takes, and its default. Read once, at the edge of each process.

import { isIP } from "node:net";
import { z } from "zod";
import { parseEvent } from "../events.ts";
import { QUEUE_KEYS, QUEUES, type QueueVariable, type Topology } from "../topology.ts";
import { areBrokerUrls } from "../broker/connection.ts";
import { DATABASE_URL_FORM, decode, parseDatabaseUrl } from "./database_url.ts";
import { messageOf } from "./errors.ts";

/** A text that is a whole number from `min` to `max`, both included. */
export function wholeNumber(min: number, max: number): z.ZodType<number> {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.string().regex(/^\d{1,10}$/, { error }).transform(Number)
    .refine((n) => n >= min && n <= max, { error });
}

const onOff = (fallback: boolean) =>
  z.enum(["true", "false", "on", "off", "1", "0"], { error: 'must be "true" or "false"' })
    .transform((value) => value === "true" || value === "on" || value === "1")
    .default(fallback);

/** Where to listen. No names: a shell's own HOST is the machine's, which may be reached from elsewhere. */
const ownAddress = (note = "") => {
  const error = `must be localhost or an IP address, such as 127.0.0.1, 0.0.0.0 or ::1${note}`;
  return z.string().refine((text) => text === "localhost" || isIP(text) > 0, { error }).default("127.0.0.1");
};

const brokerName = (fallback: string) =>
  z.string().regex(/^[\w.:-]{1,200}$/, { error: "must be 1 to 200 letters, digits or any of . : _ -" })
    .default(fallback);

/** A check that finds fault with what `parse` throws at. */
const checkedBy = (parse: (text: string) => unknown) => (text: string, context: z.RefinementCtx) => {
  try {
    parse(text);
  } catch (error) {
    context.addIssue(messageOf(error));
  }
};

const databaseUrl = z.string({ error: DATABASE_URL_FORM }).superRefine(checkedBy(parseDatabaseUrl));
const amqpUrlError =
  "must be a URL such as amqp://user:password@127.0.0.1:5672, or several of them, with commas between";
const amqpUrl = z.string({ error: amqpUrlError }).refine(areBrokerUrls, { error: amqpUrlError })
  .superRefine(checkedBy(decode));

const queueVariables = Object.fromEntries(
  Object.values(QUEUES).map(({ env, name }) => [env, brokerName(name)]),
) as Record<QueueVariable, ReturnType<typeof brokerName>>;

/** Every variable of every process, with its check and its default. `.env.example` explains them to people. */
export const VARIABLES = {
  DATABASE_URL: databaseUrl,
  AMQP_URL: amqpUrl,
  DATABASE_ROLES: onOff(true),
  HOST: ownAddress(" (some shells set it to the machine's name: unset it, or set it yourself)"),
  PORT: wholeNumber(0, 65_535).default(8000),
  OPS_TOKEN: z.string().regex(/^[ -~]{16,}$/, {
    error: "must have at least 16 characters, all ASCII: a header has no others",
  })
    .optional(),
  ORDERFLOW_API_URL: z.string()
    .refine((text) => /^https?:$/.test(URL.parse(text)?.protocol ?? ""), {
      error: "must be a URL such as http://127.0.0.1:8000",
    })
    .transform((url) => url.replace(/\/+$/, "")).optional(),
  UI_BUNDLE_DIR: z.string().min(1).optional(),
  METRICS_HOST: ownAddress(),
  METRICS_PORT: wholeNumber(0, 65_535).optional(),
  LOG_LEVEL: z.enum(["debug", "info", "warning", "error"], { error: "must be debug, info, warning or error" })
    .default("info"),
  LOG_FORMAT: z.enum(["json", "pretty"], { error: "must be json or pretty" }).default("json"),
  RABBITMQ_EXCHANGE: brokerName("orderflow.events"),
  ...queueVariables,
  OUTBOX_PUBLISHER_ENABLED: onOff(true),
  OUTBOX_PUBLISHER_BATCH_SIZE: wholeNumber(1, 10_000).default(500),
  OUTBOX_PUBLISHER_POLL_INTERVAL_MS: wholeNumber(10, 3_600_000).default(1000),
  OUTBOX_RECONCILE_INTERVAL_MS: wholeNumber(10, 3_600_000).default(10_000),
  OUTBOX_RECONCILE_AFTER_MS: wholeNumber(0, 86_400_000).default(60_000),
  RETENTION_DAYS: wholeNumber(1, 3650).default(14),
  CONSUMER_BATCH_SIZE: wholeNumber(1, 1000).default(250),
  CONSUMER_MAX_RETRIES: wholeNumber(0, 100).default(3),
  CONSUMER_MAX_MESSAGE_BYTES: wholeNumber(65_536, 134_217_728).default(262_144),
  CONSUMER_EARLY_PATIENCE_MS: wholeNumber(0, 86_400_000).default(300_000),
  PAYMENT_PROVIDER_TIMEOUT_MS: wholeNumber(1, 600_000).default(5000),
  PAYMENT_PROVIDER_CONCURRENCY: wholeNumber(1, 1000).default(64),
  PAYMENT_PROVIDER_LATENCY_MS: wholeNumber(0, 60_000).default(0),
  FAULTS_ENABLED: onOff(false),
} as const;

export type VariableName = keyof typeof VARIABLES;

export type Config<N extends VariableName = VariableName> = {
  readonly [K in N]: z.infer<(typeof VARIABLES)[K]>;
};

/** The configuration is not usable. The message names each variable at fault and what it takes. */
export class ConfigError extends Error {
  override name = "ConfigError";
}

/**
 * Reads and checks the variables `names`; an empty value counts as unset.
 *
 * Errors: `ConfigError`, naming every variable at fault, never its value (it may be a secret).
 */
export function readConfig<N extends VariableName>(
  names: readonly N[],
  get: (name: string) => string | undefined = (name) => Deno.env.get(name),
): Config<N> {
  const faults: string[] = [];
  let advice = "";
  const entries = [...new Set(names)].map((name) => {
    const given = get(name)?.trim() || undefined;
    const parsed = VARIABLES[name].safeParse(given);
    if (!parsed.success) {
      const message = parsed.error.issues[0]?.message ?? "is not valid";
      faults.push(`${name} ${given === undefined ? "is not set: it " : ""}${message}`);
      if (given === undefined) advice = ". While deno task dev runs, every task has what it needs";
    }
    return [name, parsed.data];
  });
  if (faults.length > 0) throw new ConfigError(`Cannot start: ${faults.join("; ")}${advice}`);
  return Object.fromEntries(entries) as Config<N>;
}

/** Set by the supervisor for its children, never by people: their standard input ends when the supervisor does. */
export const SUPERVISED_VARIABLE = "ORDERFLOW_SUPERVISED";

export function isSupervised(): boolean {
  return Deno.env.get(SUPERVISED_VARIABLE) === "1";
}

export const TOPOLOGY_VARIABLES: readonly ("RABBITMQ_EXCHANGE" | QueueVariable)[] = [
  "RABBITMQ_EXCHANGE",
  ...QUEUE_KEYS.map((key) => QUEUES[key].env),
];

/** The topology under the configured names, and the catalogue of what travels through it. */
export function topologyOf(config: Config<(typeof TOPOLOGY_VARIABLES)[number]>) {
  const queues = Object.fromEntries(
    QUEUE_KEYS.map((key) => [key, { name: config[QUEUES[key].env], bindings: QUEUES[key].bindings }]),
  ) as Topology["queues"];
  return { exchange: config.RABBITMQ_EXCHANGE, queues, parse: parseEvent };
}
