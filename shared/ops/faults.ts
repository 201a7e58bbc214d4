// Faults: the catalogue of every point at which the system can be made to fail on purpose, and what is armed.

import { z } from "zod";
import { v7 as uuidv7 } from "uuid";
import { type Queryable, rowset, type Sql } from "../sql/connect.ts";
import type { ArmedFaultJson, Row } from "./answers.ts";

const atRelay = (what: string) => ({ what, perConsumer: false, delayMs: null });
const atConsumer = (what: string) => ({ what, perConsumer: true, delayMs: null });
const withDelay = (delayMs: number, what: string) => ({ what, perConsumer: true, delayMs });

/**
 * The points at which a fault can strike, by their names, `<where>.<what>`. Each says in one sentence what happens there,
 * whether it can be narrowed to one consumer, which what concerns the relay alone cannot, and its default delay.
 */
export const FAULT_POINTS = {
  "relay.crash-before-publish": atRelay(
    "The relay ends at once: after the commit of whoever appended the event, before it is published.",
  ),
  "relay.crash-after-confirm": atRelay(
    "The relay ends at once: the broker has confirmed the event, and it is not yet marked as published.",
  ),
  "relay.connection-lost": atRelay(
    "The relay's connection to the broker goes away while the event waits for its confirm.",
  ),
  "delivery.duplicate": atConsumer("The event is published twice."),
  "delivery.delayed": withDelay(
    3000,
    "The broker confirms the event and delivers it only after the delay; others overtake it.",
  ),
  "delivery.reordered": withDelay(
    500,
    "The broker confirms the event and delivers it only once a later one with its correlation id has gone, and " +
      "the delay after that.",
  ),
  "delivery.lost": atConsumer("The broker confirms the event and loses it."),
  "consumer.crash-before-commit": atConsumer(
    "The consumer ends at once: all is written, and the transaction is not yet committed.",
  ),
  "consumer.crash-after-commit": atConsumer(
    "The consumer ends at once: the transaction is committed, and the message is not yet acked.",
  ),
  "database.timeout": atConsumer(
    "The database cancels a statement of the consumer's transaction by its time-out.",
  ),
  "provider.slow": withDelay(2000, "The payment provider answers only after the delay."),
  "provider.failing": atConsumer("The payment provider says that it cannot now."),
  "provider.timeout": atConsumer("The payment provider never answers."),
};

export type FaultPoint = keyof typeof FAULT_POINTS;
export const FAULT_POINT_NAMES = Object.keys(FAULT_POINTS) as readonly FaultPoint[];

/** The name of a point; the error names those that there are. */
export const faultPointSchema = z.enum(FAULT_POINT_NAMES, {
  error: `must be one of ${FAULT_POINT_NAMES.join(", ")}`,
});

/** An armed fault; `times` is how often it will strike yet, and `delayMs` null for the point's own. */
export type ArmedFault = Row<ArmedFaultJson> & { readonly point: FaultPoint };

/** A fault that is to strike, at one consumer or one correlation id alone where these are not null. */
export type Fault = Omit<ArmedFault, "id" | "createdAt">;

/** Where a fault might strike: the consumers that it concerns, and the correlation ids of the events. */
export interface FaultTarget {
  readonly consumers: readonly string[];
  readonly correlationIds: readonly string[];
}

/** Whether a fault is meant for this point and target. */
export function isMeantFor(fault: Fault, point: FaultPoint, { consumers, correlationIds }: FaultTarget) {
  return fault.point === point &&
    (fault.consumer === null || consumers.includes(fault.consumer)) &&
    (fault.correlationId === null || correlationIds.includes(fault.correlationId));
}

/** On which processes are told when something is armed, spent or taken away. */
export const FAULTS_CHANNEL = "orderflow_faults";

/** The most faults that are armed at once; a process keeps all of them in memory. */
export const MAX_ARMED_FAULTS = 1000;

/** What is armed, in the order in which it strikes. Points that this version does not know are left out. */
export async function listArmedFaults(sql: Queryable): Promise<ArmedFault[]> {
  const rows = await sql<Row<ArmedFaultJson>[]>`
    select id, point, consumer, correlation_id as "correlationId", remaining as times, delay_ms as "delayMs",
           created_at as "createdAt"
    from faults where remaining > 0 order by id limit ${MAX_ARMED_FAULTS}`;
  return rows.filter(isKnown);
}

function isKnown(fault: Row<ArmedFaultJson>): fault is ArmedFault {
  return faultPointSchema.safeParse(fault.point).success;
}

/**
 * Arms `faults`, for a scenario's own order or for an operator, in one statement: whoever listens hears of all of it, or of
 * nothing. They stand beside those there are, of which long spent ones are deleted; with `replacing` in the place of all but
 * those of scenarios, spent or not, and what is the same as one of these is none: whoever has read the list sends them along.
 */
export async function armFaults(
  sql: Queryable,
  faults: readonly Fault[],
  now: Date,
  options: { readonly byScenario?: boolean; readonly replacing?: boolean } = {},
): Promise<void> {
  const { byScenario = false, replacing = false } = options;
  const without = replacing
    ? sql`not by_scenario`
    : sql`remaining = 0 and created_at < ${now}::timestamptz - interval '1 hour'`;
  const rows = faults.map((fault) => ({ ...fault, id: uuidv7() }));
  await sql`
    with gone as (delete from faults where ${without}),
    armed as (
      insert into faults (id, point, consumer, correlation_id, remaining, delay_ms, created_at, by_scenario)
      select "id", "point", "consumer", "correlationId", "times", "delayMs", ${now}, ${byScenario}
      from jsonb_to_recordset(${rowset(rows)}::text::jsonb) as new (
        "id" uuid, "point" text, "consumer" text, "correlationId" text, "times" integer, "delayMs" integer
      )
      where ${byScenario} or not exists (
        select from faults f where f.by_scenario and f.point = "point" and f.consumer is not distinct from "consumer"
          and f.correlation_id is not distinct from "correlationId")
    )
    select pg_notify(${FAULTS_CHANNEL}, '')`;
}

/** Takes one away that is still armed, and tells every process that listens; answers whether there was one. */
export async function disarmFault(sql: Queryable, id: string): Promise<boolean> {
  const rows = await sql`
    with taken as (delete from faults where id = ${id} and remaining > 0 returning id)
    select pg_notify(${FAULTS_CHANNEL}, '') from taken`;
  return rows.count > 0;
}

/**
 * Takes one strike of a fault that is armed for `point` and the target; undefined where there is none. Committed
 * when it resolves, so a strike that ends the process is spent all the same.
 */
export async function takeFault(
  sql: Sql,
  point: FaultPoint,
  { consumers, correlationIds }: FaultTarget,
): Promise<ArmedFault | undefined> {
  const rows = await sql<ArmedFault[]>`
    with chosen as (
      select id from faults
      where point = ${point} and remaining > 0
        and (consumer is null or consumer in (
          select jsonb_array_elements_text(${JSON.stringify(consumers)}::text::jsonb)))
        and (correlation_id is null or correlation_id in (
          select jsonb_array_elements_text(${JSON.stringify(correlationIds)}::text::jsonb)))
      order by id limit 1
    ), taken as (
      update faults f set remaining = remaining - 1 from chosen where f.id = chosen.id and f.remaining > 0
      returning f.*
    )
    select id, point, consumer, correlation_id as "correlationId", remaining as times, delay_ms as "delayMs",
           created_at as "createdAt",
           case when remaining = 0 then pg_notify(${FAULTS_CHANNEL}, '') end as told
    from taken`;
  return rows[0];
}
